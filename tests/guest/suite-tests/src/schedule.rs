//! Who runs next: turns, time slices, priorities.

use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use ebbtide::stack;
use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, JoinHandle, Priority};
use ebbtide::time::{Duration, Instant};

use crate::cpus;
use crate::harness::{Outcome, failed, is_counted, pass_time, wait_until, within_a_minute};

tests![
    ; on one CPU:
    equals_take_turns_in_order,
    a_thread_that_spins_is_preempted,
    registers_survive_preemption,
    a_lone_thread_keeps_the_cpu,
    higher_priorities_run_first,
    a_spawned_thread_of_higher_priority_runs_at_once,
    a_woken_thread_of_higher_priority_runs_at_once,
    a_timer_lets_a_higher_priority_in,
    no_thread_gives_way_to_a_lower_priority,
];

/// What threads write down, in the order in which they do.
#[derive(Clone)]
pub struct Log(Arc<(AtomicUsize, Vec<AtomicU8>)>);

impl Log {
    pub fn new(room: usize) -> Self {
        Self(Arc::new((AtomicUsize::new(0), (0..room).map(|_| AtomicU8::new(0)).collect())))
    }

    pub fn note(&self, value: u8) {
        let (next, room) = &*self.0;
        room[next.fetch_add(1, Ordering::AcqRel)].store(value, Ordering::Release);
    }

    pub fn len(&self) -> usize {
        self.0.0.load(Ordering::Acquire)
    }

    pub fn read(&self) -> Vec<u8> {
        self.0.1[..self.len()].iter().map(|value| value.load(Ordering::Acquire)).collect()
    }
}

fn level(level: u8) -> Priority {
    Priority::new(level).expect("a level from 0 to 31")
}

fn spawn_at<T: Send + 'static>(
    priority: Priority,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, alloc::string::String> {
    Builder::new().priority(priority).spawn(f).map_err(failed("spawn"))
}

/// A time slice may end within an attempt and bring one thread out of its turn. Where the clock counts instructions that
/// is rare, for an attempt takes a hundredth of a slice; elsewhere the host decides how often.
fn equals_take_turns_in_order() -> Outcome {
    const ATTEMPTS: usize = 20;
    let start = Instant::now();
    let mut last = Vec::new();
    let (mut exact, mut attempts) = (0, 0);
    while attempts < ATTEMPTS || exact == 0 && !is_counted() && within_a_minute(start) {
        attempts += 1;
        let log = Log::new(40);
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let log = log.clone();
                thread::spawn(move || {
                    for _ in 0..10 {
                        log.note(n);
                        thread::yield_now();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        last = log.read();
        exact += usize::from(last.iter().enumerate().all(|(at, n)| at % 4 == usize::from(*n)) && last.len() == 40);
    }
    let least = if is_counted() { ATTEMPTS / 2 + 1 } else { 1 };
    check!(exact >= least, "in turn in {exact} of {attempts} attempts; the last: {last:?}");
    Ok(())
}

fn a_thread_that_spins_is_preempted() -> Outcome {
    let shared = Arc::new((AtomicBool::new(false), AtomicU64::new(0)));
    let theirs = Arc::clone(&shared);
    let spinner = thread::spawn(move || {
        let (stop, rounds) = &*theirs;
        while !stop.load(Ordering::Acquire) {
            rounds.fetch_add(1, Ordering::AcqRel);
            pass_time();
        }
    });
    // Once the spinner is in its loop, the main thread sees so only if the spinner is made to give way. (It may be made to
    // do so before, too.)
    let (stop, rounds) = &*shared;
    let outcome = wait_until("it never ran", || rounds.load(Ordering::Acquire) > 0);
    stop.store(true, Ordering::Release);
    spinner.join().unwrap();
    outcome
}

/// Keeps more values alive than there are registers, and makes each depend on the others.
#[inline(never)]
fn mix(seed: u64, rounds: u64) -> u64 {
    let mut v: [u64; 16] = core::array::from_fn(|n| seed.wrapping_mul(2 * n as u64 + 3));
    for round in 0..rounds {
        for n in 0..16 {
            v[n] = v[n].rotate_left(n as u32 + 1).wrapping_add(v[(n + 5) % 16]) ^ round;
        }
    }
    v.iter().fold(0, |sum, value| sum.rotate_left(3) ^ value)
}

fn registers_survive_preemption() -> Outcome {
    const SWITCHES: u64 = 16;
    let switches = || stack::counters().cache.switches;
    let (start, before) = (Instant::now(), switches());
    let threads: Vec<_> = (1..=4_u64)
        .map(|seed| {
            thread::spawn(move || {
                let (mut rounds, mut sum) = (0, 0);
                // Several time slices, without a voluntary switch.
                while switches() - before < SWITCHES && within_a_minute(start) {
                    sum = black_box(mix(seed ^ sum, 2_000));
                    rounds += 1;
                }
                (seed, rounds, sum)
            })
        })
        .collect();
    let results: Vec<(u64, u32, u64)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let preempted = switches() - before;
    check!(preempted >= SWITCHES, "only {preempted} switches: nobody was preempted");
    for (seed, rounds, sum) in results {
        // Now alone, so unpreempted.
        let expected = (0..rounds).fold(0, |sum, _| mix(seed ^ sum, 2_000));
        check_eq!(sum, expected, "seed {seed}, {rounds} rounds");
    }
    Ok(())
}

fn a_lone_thread_keeps_the_cpu() -> Outcome {
    let before = stack::counters();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        thread::yield_now();
    }
    let after = stack::counters();
    check_eq!(after.cache.switches, before.cache.switches, "switches though nobody else is ready");
    // Other CPUs are idle all the time.
    let halts = after.halts - before.halts;
    check!(halts == 0 || cpus::count() > 1, "{halts} halts though a thread is ready");
    Ok(())
}

fn higher_priorities_run_first() -> Outcome {
    const LEVELS: [u8; 12] = [7, 24, 1, 18, 12, 0, 16, 22, 3, 17, 9, 15];
    let log = Log::new(LEVELS.len());
    let theirs = log.clone();
    // Above all of them: they run once it has made them all.
    let conductor = spawn_at(level(25), move || {
        let spawn = |n: u8| {
            let log = theirs.clone();
            spawn_at(level(n), move || log.note(n))
        };
        LEVELS.map(spawn)
    })?;
    for thread in conductor.join().unwrap() {
        thread?.join().unwrap();
    }
    let mut expected = LEVELS;
    expected.sort_unstable_by(|a, b| b.cmp(a));
    check_eq!(log.read(), expected, "order of the levels");
    Ok(())
}

fn a_spawned_thread_of_higher_priority_runs_at_once() -> Outcome {
    let log = Log::new(2);
    let theirs = log.clone();
    let higher = spawn_at(level(17), move || theirs.note(1))?;
    log.note(2);
    higher.join().unwrap();
    check_eq!(log.read(), [1, 2], "the spawned thread (1) and its parent (2)");
    Ok(())
}

fn a_woken_thread_of_higher_priority_runs_at_once() -> Outcome {
    let log = Log::new(3);
    let theirs = log.clone();
    let higher = spawn_at(level(20), move || {
        theirs.note(1);
        thread::park();
        theirs.note(2);
    })?;
    higher.thread().unpark();
    log.note(3);
    higher.join().unwrap();
    check_eq!(log.read(), [1, 2, 3], "begun, woken, and then its waker");
    Ok(())
}

fn a_timer_lets_a_higher_priority_in() -> Outcome {
    let awake = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&awake);
    let higher = spawn_at(level(20), move || {
        thread::sleep(Duration::from_millis(5));
        theirs.store(true, Ordering::Release);
    })?;
    let start = Instant::now();
    while !awake.load(Ordering::Acquire) {
        check!(within_a_minute(start), "it did not get the CPU from a thread that spins");
        pass_time();
    }
    higher.join().unwrap();
    Ok(())
}

fn no_thread_gives_way_to_a_lower_priority() -> Outcome {
    let log = Log::new(2);
    let theirs = log.clone();
    let lower = spawn_at(level(15), move || theirs.note(1))?;
    let start = Instant::now();
    // Longer than two time slices.
    while start.elapsed() < Duration::from_millis(25) {
        thread::yield_now();
    }
    check_eq!(log.read(), [], "what the lower one did while a higher one was ready");
    lower.join().unwrap();
    wait_until("the lower one did not run when nothing else did", || log.read() == [1])?;
    Ok(())
}
