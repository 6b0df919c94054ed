//! What the server is made to do.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::time::Duration;

use crate::depths::Depths;
use crate::words::Words;

/// The words that are known.
const KNOWN: &[&str] = &["steps", "seed", "depths", "requests", "gap_us", "wait_ms", "bursts_ms", "every_ms", "looks"];

/// How long all of it may take at most, in milliseconds.
const LONGEST_MS: usize = 3_600_000;

/// What the server is made to do.
pub struct Settings {
    /// Numbers of connections at which memory is looked at, in rising order.
    pub steps: Vec<usize>,
    /// What the dice begin with.
    pub seed: u64,
    /// How deep requests go.
    pub depths: Depths,
    /// Requests of a burst.
    pub requests: usize,
    /// The time between two of them.
    pub gap: Duration,
    /// How long each waits where it is deepest.
    pub wait: Duration,
    /// When bursts begin.
    pub bursts: Vec<Duration>,
    /// The time between two looks at memory.
    pub every: Duration,
    /// How many looks there are.
    pub looks: usize,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// A word that is missing, unknown or wrong, and what is allowed.
    pub fn read(words: &[String]) -> Result<Self, String> {
        let words = Words::new(words, KNOWN)?;
        let ms = |ms: usize| Duration::from_millis(ms as u64);
        let settings = Self {
            steps: words.rising("steps", LONGEST_MS)?,
            seed: words.seed()?,
            depths: words.depths()?,
            requests: words.number("requests", 1..=1_000_000)?,
            gap: Duration::from_micros(words.number("gap_us", 1..=1_000_000)? as u64),
            wait: ms(words.number("wait_ms", 1..=LONGEST_MS)?),
            bursts: words.rising("bursts_ms", LONGEST_MS)?.into_iter().map(ms).collect(),
            every: ms(words.number("every_ms", 1..=LONGEST_MS)?),
            looks: words.number("looks", 1..=10_000)?,
        };
        settings.check().map(|()| settings)
    }

    /// Checks what one word does not say: there is a look before the first burst, no burst begins in another, and the last ends before the
    /// last look.
    fn check(&self) -> Result<(), String> {
        let length = self.gap * self.requests as u32;
        if self.bursts[0] < self.every {
            return Err(format!("`bursts_ms`: the first begins before the second look, at {:?}", self.every));
        }
        if self.bursts.windows(2).any(|pair| pair[1] < pair[0] + length) {
            return Err(format!("`bursts_ms`: one begins in another, which takes {length:?} (`requests` × `gap_us`)"));
        }
        let (end, last) =
            (self.bursts[self.bursts.len() - 1] + length + self.wait, self.every * (self.looks - 1) as u32);
        if end > last {
            return Err(format!("`looks`: the last comes at {last:?}, before all are served, at {end:?} or later"));
        }
        Ok(())
    }
}
