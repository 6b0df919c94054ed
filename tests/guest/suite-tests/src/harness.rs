//! A small test harness. A test returns what is wrong; nothing panics, so one failure does not hide the others.
//!
//! After each test the machine comes to rest, and two things must hold: every frame is accounted for, and no thread
//! is left over.

use alloc::format;
use alloc::string::String;

use ebbtide::process::ExitCode;
use ebbtide::stack::{Frames, Sample};
use ebbtide::thread::CpuSet;
use ebbtide::time::{Duration, Instant};
use ebbtide::{env, log, println, stack, thread};

/// What a test comes to: nothing to say, or what is wrong.
pub type Outcome = Result<(), String>;

/// A test.
pub struct Test {
    pub name: &'static str,
    pub run: fn() -> Outcome,
    /// Its threads share one CPU, however many there are: what it says is about their order.
    pub on_one_cpu: bool,
}

/// Names the tests of a module: those that hold on any number of CPUs, and those whose threads share one.
macro_rules! tests {
    ($($name:ident),* $(,)? $(; on one CPU: $($bound:ident),+ $(,)?)?) => {
        pub const TESTS: &[$crate::harness::Test] = &[
            $($crate::harness::Test { name: stringify!($name), run: $name, on_one_cpu: false },)*
            $($($crate::harness::Test { name: stringify!($bound), run: $bound, on_one_cpu: true },)+)?
        ];
    };
}

/// Ends the test with a message unless a condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(alloc::format!($($message)+));
        }
    };
}

/// Ends the test with both values unless they are equal.
macro_rules! check_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) if found == expected => {}
            (found, expected) => {
                let what = alloc::format!($($message)+);
                return Err(alloc::format!("{what}: {found:?}, expected {expected:?}"));
            }
        }
    };
}

/// Runs the tests that the command line names, or all.
pub fn run(groups: &[&[Test]]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for test in groups.iter().copied().flatten().filter(|test| is_chosen(test.name)) {
        let name = test.name;
        log::info!("test {name}");
        match run_one(test).and_then(|()| at_rest()) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(why) => {
                failed += 1;
                println!("test {name} ... FAILED: {why}");
            }
        }
    }
    println!("tests: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(test: &Test) -> Outcome {
    if !test.on_one_cpu {
        return (test.run)();
    }
    bind_to(CpuSet::only(thread::current_cpu()))?;
    let outcome = (test.run)();
    bind_to(CpuSet::ALL)?;
    outcome
}

fn bind_to(cpus: CpuSet) -> Outcome {
    thread::set_affinity(cpus).map_err(failed("binding the test to a CPU"))
}

fn is_chosen(name: &str) -> bool {
    let mut parts = env::args().skip(1).filter(|word| !word.contains('=')).peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&*part))
}

/// The value of a `key=value` word of the command line.
pub fn word(key: &str) -> Option<String> {
    env::args().find_map(|word| Some(word.strip_prefix(key)?.strip_prefix('=')?.into()))
}

fn at_rest() -> Outcome {
    let (frames, sample) = conserved()?;
    check_eq!(sample.threads, 0, "threads left over");
    check_eq!(frames.user, 0, "frames that are still user mode's");
    check!(frames.counts.free > 0, "no frame is free any more");
    Ok(())
}

/// Lets everything come to rest, and checks that every frame is free, in the heap, user mode's, in a page table or in the stack range.
pub fn conserved() -> Result<(Frames, Sample), String> {
    stack::settle();
    let (frames, sample) = (stack::frames(), stack::sample());
    let known = frames.counts.free + frames.heap + frames.user + frames.tables + sample.range;
    check_eq!(known, frames.counts.total, "frames accounted for ({frames:?}, {sample:?})");
    Ok((frames, sample))
}

/// Waits until a condition holds, for a minute at most, letting others run.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !condition() {
        check!(within_a_minute(start), "after a minute: {what}");
        thread::yield_now();
    }
    Ok(())
}

/// Passes the time, with a few instructions, in the kernel or in user mode. Not `spin_loop`: QEMU leaves its loop at each,
/// which makes a guest that counts instructions spin for ten times as long.
pub fn pass_time() {
    core::hint::black_box(());
}

/// Whether the clock counts instructions, so that no other load disturbs it. Elsewhere a host that takes the guest's CPU
/// away lets the guest's time jump, between any two instructions: slices end and times are up.
pub fn is_counted() -> bool {
    word("icount").is_some()
}

/// Whether a test that began at `start` may go on; after a minute it should have found what it looks for.
pub fn within_a_minute(start: Instant) -> bool {
    start.elapsed() < Duration::from_secs(60)
}

/// Asks for so many bytes of stack, under a policy whose threads have to.
pub fn ask(bytes: usize) {
    if stack::ASKS {
        stack::ensure(bytes).expect("there is memory");
    }
}

/// Names what could not be done.
pub fn failed<E: core::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// Numbers that look random, and are the same in each run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Microseconds below `limit`.
    pub fn micros(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit))
    }
}
