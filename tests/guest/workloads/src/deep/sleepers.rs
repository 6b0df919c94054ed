//! The threads that sleep deep, and those that sleep in system calls.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ebbtide::sync::{Arc, Semaphore};
use ebbtide::thread::{self, Builder, JoinHandle, Priority};
use ebbtide::user;
use ebbtide_figures::Dice;

use super::settings::{Settings, draw};
use crate::depths;

/// Below that of the thread that looks at memory.
const PRIORITY: Priority = Priority::new(8).expect("a level that there is");

/// Bytes of stack that threads have in user mode: kernel stacks are what is looked at.
const USER_STACK_BYTES: usize = 4 << 10;

/// What the threads share.
struct Shared {
    settings: Settings,
    begin: Semaphore,
    end: Semaphore,
    /// Threads that sleep deep.
    deep: AtomicUsize,
    /// Sleeps that are over.
    slept: AtomicUsize,
}

/// All threads.
pub struct Sleepers {
    shared: Arc<Shared>,
    kernel: Vec<JoinHandle<()>>,
    user: Vec<user::JoinHandle<u64>>,
}

impl Sleepers {
    /// Spawns them; they wait to begin.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn spawn(settings: &Settings) -> Result<Self, String> {
        let (begin, end) = (Semaphore::new(0), Semaphore::new(0));
        let (deep, slept) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { settings: settings.clone(), begin, end, deep, slept });
        let in_kernel = settings.threads - settings.user;
        let failed = |number: usize, error: &dyn core::fmt::Display| format!("sleeper {number}: {error}");
        let one = |number: usize| {
            let shared = Arc::clone(&shared);
            let thread = Builder::new().priority(PRIORITY).spawn(move || shared.live(number));
            thread.map_err(|error| failed(number, &error))
        };
        let one_in_user_mode = |number: usize| {
            let builder = user::Builder::new().user_stack_size(USER_STACK_BYTES).priority(PRIORITY);
            builder.spawn(live_in_user_mode, arguments(settings, number)).map_err(|error| failed(number, &error))
        };
        let kernel = (0..in_kernel).map(one).collect::<Result<_, _>>()?;
        let user = (in_kernel..settings.threads).map(one_in_user_mode).collect::<Result<_, _>>()?;
        Ok(Self { shared, kernel, user })
    }

    /// Lets them begin.
    pub fn begin(&self) {
        self.kernel.iter().for_each(|_| self.shared.begin.release());
        self.user.iter().for_each(|thread| thread.thread().unpark());
    }

    /// Threads of the kernel that sleep deep just now.
    pub fn deep(&self) -> usize {
        self.shared.deep.load(Ordering::Acquire)
    }

    /// Sleeps of theirs that are over.
    pub fn slept(&self) -> usize {
        self.shared.slept.load(Ordering::Acquire)
    }

    /// How many sleeps of theirs there are to be.
    pub fn sleeps(&self) -> usize {
        self.kernel.len() * self.shared.settings.rounds
    }

    /// Lets them end, and waits for that.
    ///
    /// # Errors
    ///
    /// Some did not sleep as often as they should, or ended otherwise.
    pub fn end(self) -> Result<(), String> {
        self.kernel.iter().for_each(|_| self.shared.end.release());
        for thread in self.kernel {
            thread.join().map_err(|_| "a sleeper panicked".to_string())?;
        }
        for thread in self.user {
            thread.thread().unpark();
            let slept = thread.join().map_err(|error| format!("a sleeper in user mode: {error}"))?;
            if slept != self.shared.settings.rounds as u64 {
                return Err(format!("a sleeper in user mode slept {slept} times"));
            }
        }
        Ok(())
    }
}

impl Shared {
    /// What a thread of the kernel does.
    fn live(&self, number: usize) {
        let Settings { rounds, depths, pause, sleep, seed, .. } = &self.settings;
        let mut dice = Dice::of(*seed, number as u64);
        self.begin.acquire();
        for _ in 0..*rounds {
            thread::sleep(draw(pause, &mut dice));
            let (depth, time) = (depths.draw(&mut dice), draw(sleep, &mut dice));
            depths::go(depth, &mut || {
                self.deep.fetch_add(1, Ordering::AcqRel);
                thread::sleep(time);
                self.deep.fetch_sub(1, Ordering::AcqRel);
            });
            self.slept.fetch_add(1, Ordering::AcqRel);
        }
        self.end.acquire();
    }
}

/// What a thread in user mode is told: it sees nothing that is the kernel's.
fn arguments(settings: &Settings, number: usize) -> [u64; 7] {
    let Settings { rounds, pause, sleep, seed, .. } = settings;
    let spans = [pause.start(), pause.end(), sleep.start(), sleep.end()].map(|ms| *ms as u64);
    [spans[0], spans[1], spans[2], spans[3], *seed, number as u64, *rounds as u64]
}

/// What a thread in user mode does; it returns how often it slept.
fn live_in_user_mode(arguments: [u64; 7]) -> u64 {
    let [.., seed, number, rounds] = arguments;
    let [pause, sleep] = [0, 2].map(|at| arguments[at] as usize..=arguments[at + 1] as usize);
    let mut dice = Dice::of(seed, number);
    user::park(None);
    for _ in 0..rounds {
        user::sleep(draw(&pause, &mut dice));
        user::sleep(draw(&sleep, &mut dice));
    }
    user::park(None);
    rounds
}
