//! What the guests that measure share: words of the command line, others that sleep, dice, means, and the count of all frames.

#![no_std]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use ebbtide::stack::{self, Frames, Sample};
use ebbtide::time::Duration;
use ebbtide::{env, thread};

/// How long others sleep: longer than any measurement, in the guest's time.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Threads that have run and are about to sleep.
static ASLEEP: AtomicUsize = AtomicUsize::new(0);

/// The number after `name=` on the command line.
///
/// # Errors
///
/// It is not there, or is no number.
pub fn word(name: &str) -> Result<usize, String> {
    let value = text(name).ok_or_else(|| format!("the command line lacks `{name}=NUMBER`"))?;
    value.parse().map_err(|_| format!("`{name}={value}` is not a number"))
}

/// What stands after `name=` on the command line, if it is there.
fn text(name: &str) -> Option<String> {
    env::args().find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(String::from))
}

/// Puts more threads to sleep until there are `threads`, and returns when all sleep and the CPUs have since been idle.
///
/// Each waits for a point in time, so the timer is armed from then on.
///
/// # Errors
///
/// One of them could not be spawned.
pub fn put_to_sleep(threads: usize) -> Result<(), String> {
    for number in ASLEEP.load(Ordering::Acquire)..threads {
        thread::Builder::new().spawn(sleeper).map_err(|error| format!("thread {number} of {threads}: {error}"))?;
    }
    while ASLEEP.load(Ordering::Acquire) < threads {
        thread::sleep(Duration::from_millis(1));
    }
    stack::settle();
    Ok(())
}

/// Counts where all frames are, and what of them is in stacks.
///
/// # Errors
///
/// A frame is nowhere: not free, and in no heap, page table, stack range or memory of user mode.
pub fn conserved() -> Result<(Frames, Sample), String> {
    let (frames, sample) = (stack::frames(), stack::sample());
    let known = frames.counts.free + frames.heap + frames.user + frames.tables + sample.range;
    if known == frames.counts.total {
        Ok((frames, sample))
    } else {
        Err(format!("frames are not conserved: {frames:?}, {sample:?}"))
    }
}

/// The same where there are so many threads beside the one that calls.
///
/// # Errors
///
/// A frame is nowhere, or the walk of the page tables finds other than so many threads.
pub fn accounted(threads: usize) -> Result<(Frames, Sample), String> {
    let (frames, sample) = conserved()?;
    if sample.threads == threads {
        Ok((frames, sample))
    } else {
        Err(format!("the walk of the page tables found {} threads, and there are {threads}", sample.threads))
    }
}

/// Lets so many timer interrupts come that the clock knows its frequencies as well as it will: until then each of them takes some
/// hundred instructions more, which belong to the boot. How far that has come by itself depends on how long the guest has slept.
pub fn settle_clock() {
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(10));
    }
}

fn sleeper() {
    ASLEEP.fetch_add(1, Ordering::Release);
    loop {
        thread::sleep(LONG);
    }
}

/// Marsaglia's xorshift64: numbers that look random, and are the same in each run. It begins with any number but 0.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Dice of its own for each of those that draw from one seed (Steele, Lea and Flood's SplitMix64).
    pub fn of(seed: u64, number: u64) -> Self {
        let mixed = seed.wrapping_add((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    /// A number below `limit`.
    ///
    /// # Panics
    ///
    /// `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A mean, shown with two decimals. It is rounded upwards: what is not 0 never looks like 0.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    hundredths: u64,
}

impl Mean {
    /// The mean of `count` things that come to `total`.
    ///
    /// # Panics
    ///
    /// `count` is 0.
    pub fn new(total: u64, count: u64) -> Self {
        Self { hundredths: (100 * total).div_ceil(count) }
    }
}

impl fmt::Display for Mean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.hundredths / 100, self.hundredths % 100)
    }
}
