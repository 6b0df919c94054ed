//! Threads that have nothing to do with the calls, run all the time beside them, and look whether anything of theirs has changed:
//! canaries on the stack, in the heap and in registers, of the kernel and of user mode, awake and asleep.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ebbtide::provoke::{self, CallRegisters};
use ebbtide::thread::{self, JoinHandle};
use ebbtide::time::Duration;
use ebbtide::user::{self, Call};

/// How long a bystander sleeps at a time.
const NAP: Duration = Duration::from_micros(500);

/// How long one of user mode lives, in nanoseconds. Nobody can tell it when to end, so others take its place.
const LIFE_NS: u64 = 300_000_000;

/// Canaries of a thread that sleeps deep.
const DEPTH: u64 = 12;

/// What the bystanders in the kernel share.
#[derive(Default)]
struct Watch {
    over: AtomicBool,
    rounds: AtomicU64,
    corrupt: AtomicU64,
    /// Numbers of those of user mode that run.
    ids: [AtomicU64; IN_USER_MODE.len()],
}

/// What the bystanders in the kernel do, once.
const IN_KERNEL: [fn(u64) -> u64; 4] = [sleep_deep, sleep_in_registers, compute, keep_heap];

/// What those of user mode do, once.
const IN_USER_MODE: [fn(u64) -> u64; 3] = [user_keep_heap, user_compute, user_sleep_in_registers];

/// The bystanders.
pub struct Bystanders {
    watch: Arc<Watch>,
    threads: Vec<JoinHandle<()>>,
}

impl Bystanders {
    pub fn start() -> Result<Self, String> {
        let watch = Arc::<Watch>::default();
        let mut threads = Vec::new();
        for (number, work) in IN_KERNEL.into_iter().enumerate() {
            let watch = Arc::clone(&watch);
            threads.push(thread::Builder::new().spawn(move || watch.observe(work, number as u64)));
        }
        for number in 0..IN_USER_MODE.len() {
            let watch = Arc::clone(&watch);
            threads.push(thread::Builder::new().spawn(move || watch.replace(number)));
        }
        let threads = threads.into_iter().collect::<Result<_, _>>().map_err(|error| format!("a bystander: {error}"))?;
        Ok(Self { watch, threads })
    }

    /// The numbers of those of user mode, as far as they run.
    pub fn ids(&self) -> [u64; IN_USER_MODE.len()] {
        core::array::from_fn(|number| self.watch.ids[number].load(Ordering::Relaxed))
    }

    /// Ends them; says what they have seen.
    pub fn end(self) -> Result<String, String> {
        self.watch.over.store(true, Ordering::Release);
        for thread in self.threads {
            let Ok(()) = thread.join();
        }
        let [rounds, corrupt] = [&self.watch.rounds, &self.watch.corrupt].map(|count| count.load(Ordering::Acquire));
        let (kernel, user) = (IN_KERNEL.len(), IN_USER_MODE.len());
        if corrupt > 0 {
            return Err(format!("{corrupt} of {rounds} looks found a bystander corrupt"));
        }
        Ok(format!(
            "{kernel} bystanders in the kernel and {user} in user mode looked {rounds} times, and none is corrupt"
        ))
    }
}

impl Watch {
    fn note(&self, rounds: u64, corrupt: u64) {
        self.rounds.fetch_add(rounds, Ordering::Relaxed);
        self.corrupt.fetch_add(corrupt, Ordering::Relaxed);
    }

    /// The life of one in the kernel.
    fn observe(&self, work: fn(u64) -> u64, number: u64) {
        let mut round = 0;
        while !self.over.load(Ordering::Acquire) {
            self.note(1, u64::from(work(number << 32 | round) != 0));
            round += 1;
        }
    }

    /// Sees to it that there is always one in user mode.
    fn replace(&self, number: usize) {
        let mut round = 0;
        while !self.over.load(Ordering::Acquire) {
            round += 1;
            let seed = (number as u64) << 32 | round;
            // There may be no memory for a moment: the others take all there is.
            let Ok(thread) = user::Builder::new().spawn(live, [number as u64, seed]) else {
                thread::sleep(NAP);
                continue;
            };
            self.ids[number].store(thread.thread().id().to_string().parse().unwrap_or(0), Ordering::Relaxed);
            match thread.join() {
                Ok([rounds, corrupt]) => self.note(rounds, corrupt),
                Err(_) => self.note(1, 1),
            }
        }
    }
}

/// The life of one in user mode.
fn live([number, seed]: [u64; 2]) -> [u64; 2] {
    let end = now() + LIFE_NS;
    let (mut rounds, mut corrupt) = (0, 0);
    while now() < end {
        corrupt += u64::from(IN_USER_MODE[number as usize](seed << 16 | rounds) != 0);
        rounds += 1;
    }
    [rounds, corrupt]
}

fn now() -> u64 {
    user::uptime().as_nanos() as u64
}

/// A number of which every bit matters.
fn pattern(seed: u64) -> u64 {
    (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Sleeps below many activation records, each with a canary; how many have changed.
fn sleep_deep(seed: u64) -> u64 {
    fn wait_at(depth: u64, word: u64) -> u64 {
        let canary = black_box([word ^ depth; 40]);
        let changed = if depth > 0 {
            wait_at(depth - 1, word)
        } else {
            thread::sleep(NAP);
            0
        };
        changed + u64::from(black_box(&canary).iter().any(|found| *found != word ^ depth))
    }
    wait_at(seed % (DEPTH + 1), pattern(seed))
}

/// Sleeps with canaries in the registers that a call keeps.
fn sleep_in_registers(seed: u64) -> u64 {
    extern "C" fn nap() {
        thread::sleep(NAP);
    }
    provoke::registers_changed_by(pattern(seed), nap)
}

/// Computes with canaries in all registers, gives way with some in those that a call keeps, and rests a little.
fn compute(seed: u64) -> u64 {
    extern "C" fn give_way() {
        thread::yield_now();
    }
    let changed = provoke::registers_changed_meanwhile(pattern(seed), 1000)
        | provoke::registers_changed_by(pattern(seed), give_way);
    thread::sleep(NAP);
    changed
}

/// Keeps something in the heap while it sleeps.
fn keep_heap(seed: u64) -> u64 {
    let mut kept = Vec::new();
    // Who takes the last frame is not this one.
    if kept.try_reserve_exact(64).is_err() {
        thread::sleep(NAP);
        return 0;
    }
    kept.resize(64, pattern(seed));
    thread::sleep(NAP);
    u64::from(black_box(&kept).iter().any(|found| *found != pattern(seed)))
}

/// Keeps some pages full in user mode while it sleeps.
fn user_keep_heap(seed: u64) -> u64 {
    let mut kept = Vec::new();
    if kept.try_reserve_exact(1500).is_err() {
        user::sleep(NAP);
        return 0;
    }
    kept.resize(1500, pattern(seed));
    user::sleep(NAP);
    u64::from(black_box(&kept).iter().any(|found| *found != pattern(seed)))
}

/// Computes in user mode with canaries in all registers, until it is preempted now and then.
fn user_compute(seed: u64) -> u64 {
    let mut changed = 0;
    let kept = provoke::float_registers_survive(pattern(seed), || {
        changed = provoke::registers_changed_meanwhile(pattern(seed), 4000);
        user::sleep(NAP);
    });
    changed + u64::from(!kept)
}

/// Makes calls with canaries in the registers that a call keeps. Others may unpark it at any time.
fn user_sleep_in_registers(seed: u64) -> u64 {
    extern "C" fn park() {
        call(Call::Park);
    }
    extern "C" fn give_way() {
        call(Call::Yield);
    }
    provoke::registers_changed_by(pattern(seed), park) | provoke::registers_changed_by(pattern(seed), give_way)
}

/// Calls the kernel. With a canary in the frame pointer it does not look like user mode, so this is no function of [`user`].
fn call(call: Call) {
    let nap = NAP.as_nanos() as u64;
    let (others, stack_pointer) = ([nap; provoke::GENERAL_REGISTERS], nap);
    let registers = CallRegisters { number: call as u64, arguments: [nap; 5], others, stack_pointer, flags: 0 };
    let _ = provoke::call_kernel_with(&registers);
}
