//! What deep sleepers are made to do.

use alloc::string::String;
use core::ops::RangeInclusive;

use ebbtide::time::Duration;
use ebbtide_figures::Dice;

use crate::depths::Depths;
use crate::words::Words;

/// The words that are known.
const KNOWN: &[&str] = &["threads", "user_percent", "rounds", "depths", "pause_ms", "sleep_ms", "every_ms", "seed"];

/// How long one sleep may be at most, in milliseconds.
const LONGEST_MS: usize = 60_000;

/// From how long to how long something takes, in milliseconds.
pub type Span = RangeInclusive<usize>;

/// What they are made to do.
#[derive(Clone)]
pub struct Settings {
    /// How many there are.
    pub threads: usize,
    /// How many of them live in user mode, and sleep in system calls.
    pub user: usize,
    /// How often each goes to sleep.
    pub rounds: usize,
    /// How deep they sleep.
    pub depths: Depths,
    /// How long they wait before that, with next to nothing on their stacks.
    pub pause: Span,
    /// How long they sleep.
    pub sleep: Span,
    /// The time between two looks at memory.
    pub every: Duration,
    /// What the dice begin with.
    pub seed: u64,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// A word that is missing, unknown or wrong, and what is allowed.
    pub fn read(words: &[String]) -> Result<Self, String> {
        let words = Words::new(words, KNOWN)?;
        let threads = words.number("threads", 1..=100_000)?;
        Ok(Self {
            threads,
            user: threads * words.number("user_percent", 0..=100)? / 100,
            rounds: words.number("rounds", 1..=1_000_000)?,
            depths: words.depths()?,
            pause: words.span("pause_ms", LONGEST_MS)?,
            sleep: words.span("sleep_ms", LONGEST_MS)?,
            every: Duration::from_millis(words.number("every_ms", 1..=LONGEST_MS)? as u64),
            seed: words.seed()?,
        })
    }
}

/// Draws how long something takes.
pub fn draw(span: &Span, dice: &mut Dice) -> Duration {
    let choices = (span.end() - span.start() + 1) as u64;
    Duration::from_millis(*span.start() as u64 + dice.below(choices))
}
