//! How many calls were made, by number and by what came of them.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU32, Ordering};

use ebbtide::user::{Call, Error};

/// The calls that there are, and one line for the numbers that no call has.
const CALLS: usize = Call::ALL.len() + 1;

/// What may come of a call: it succeeds, it ends the thread as it should, or one of the errors.
const RESULTS: [&str; 10] = [
    "ok",
    "ends",
    "unknown-call",
    "bad-address",
    "bad-argument",
    "no-memory",
    "timed-out",
    "changed",
    "no-such-thread",
    "ended",
];

const ENDS: usize = 1;

/// Numbers that are counted beside the table.
const OTHERS: usize = 3;

/// Numbers of a tally, as a thread of user mode returns them.
pub const NUMBERS: usize = CALLS * RESULTS.len() + OTHERS;

/// What is counted where threads of user mode share memory.
#[derive(Debug)]
pub struct Tally([AtomicU32; NUMBERS]);

/// What is counted beside the table.
#[derive(Clone, Copy, Debug)]
pub enum Other {
    /// A call after which a register was not what it must be.
    Register,
    /// An answer that no call gives: an error that there is not, or one with a value, or any where the thread should have ended.
    Answer,
    /// A thread that was spawned.
    Spawned,
}

impl Other {
    const fn place(self) -> usize {
        NUMBERS - OTHERS + self as usize
    }
}

impl Tally {
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; NUMBERS])
    }

    fn add(&self, place: usize) {
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call by what it has returned.
    pub fn note(&self, number: u64, result: Result<u64, Error>) {
        self.add(place(number, result.map_or_else(|error| ENDS + error as usize, |_| 0)));
    }

    /// Counts a call that is about to end the thread.
    pub fn note_end(&self, number: u64) {
        self.add(place(number, ENDS));
    }

    pub fn note_other(&self, other: Other) {
        self.add(other.place());
    }

    pub fn numbers(&self) -> [u32; NUMBERS] {
        core::array::from_fn(|place| self.0[place].load(Ordering::Relaxed))
    }
}

/// Where a call of this number with this result is counted.
fn place(number: u64, result: usize) -> usize {
    let line = Call::from_number(number).map_or(CALLS - 1, |call| call as usize);
    line * RESULTS.len() + result
}

/// The sum of many tallies.
pub struct Sum([u64; NUMBERS]);

impl Sum {
    pub const fn new() -> Self {
        Self([0; NUMBERS])
    }

    pub fn add(&mut self, numbers: &[u32; NUMBERS]) {
        for (sum, number) in self.0.iter_mut().zip(numbers) {
            *sum += u64::from(*number);
        }
    }

    pub fn other(&self, other: Other) -> u64 {
        self.0[other.place()]
    }

    fn lines(&self) -> impl Iterator<Item = (String, &[u64])> {
        let name = |line| Call::ALL.get(line).map_or_else(|| "no such number".into(), |call| format!("{call:?}"));
        self.0.chunks(RESULTS.len()).take(CALLS).enumerate().map(move |(line, numbers)| (name(line), numbers))
    }

    /// All calls.
    pub fn calls(&self) -> u64 {
        self.lines().flat_map(|(_, numbers)| numbers).sum()
    }

    /// Those that did what they are for.
    pub fn succeeded(&self) -> u64 {
        self.lines().flat_map(|(_, numbers)| &numbers[..=ENDS]).sum()
    }

    /// The first call that was never made.
    pub fn never_made(&self) -> Option<String> {
        self.lines().find(|(_, numbers)| numbers.iter().all(|number| *number == 0)).map(|(name, _)| name)
    }

    /// The first error that no call has returned.
    pub fn never_returned(&self) -> Option<&'static str> {
        let is_never = |result: &usize| self.lines().all(|(_, numbers)| numbers[*result] == 0);
        (0..RESULTS.len()).find(is_never).map(|result| RESULTS[result])
    }

    /// A line for each call.
    pub fn table(&self) -> impl Iterator<Item = String> {
        self.lines().map(|(name, numbers)| {
            let results = numbers.iter().zip(RESULTS).filter(|(number, _)| **number > 0);
            results.fold(name, |line, (number, result)| format!("{line} {result}={number}"))
        })
    }
}
