//! What the server is made to do: words of the command line, each of which must be there.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use ebbtide::env;
use ebbtide::time::Duration;
use ebbtide_figures::{Dice, text, word};

/// The words that are known.
const KNOWN: &[&str] = &["steps", "seed", "depths", "requests", "gap_us", "wait_ms", "bursts_ms", "every_ms", "looks"];

/// How deep a request may go, in KiB: a stack has 16, and what is above and below takes some.
const DEEPEST_KIB: usize = 12;

/// How long all of it may take at most, in milliseconds.
const LONGEST_MS: usize = 3_600_000;

/// What the server is made to do.
pub struct Settings {
    /// Numbers of connections at which memory is looked at, in rising order.
    pub steps: Vec<usize>,
    /// What the dice begin with.
    pub seed: u64,
    /// How deep requests go, in bytes, and how many of all do so.
    depths: Vec<(usize, u64)>,
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
    pub fn read() -> Result<Self, String> {
        for word in env::args().skip(1) {
            if !word.split_once('=').is_some_and(|(name, _)| KNOWN.contains(&name)) {
                return Err(format!("`{word}` is not known; known: {}=…", KNOWN.join("=…, ")));
            }
        }
        let ms = |ms: usize| Duration::from_millis(ms as u64);
        let bursts_ms: Vec<usize> = rising("bursts_ms")?;
        let settings = Self {
            steps: rising("steps")?,
            seed: at_least_1("seed", usize::MAX)? as u64,
            depths: depths()?,
            requests: at_least_1("requests", 1_000_000)?,
            gap: Duration::from_micros(at_least_1("gap_us", 1_000_000)? as u64),
            wait: ms(at_least_1("wait_ms", LONGEST_MS)?),
            bursts: bursts_ms.into_iter().map(ms).collect(),
            every: ms(at_least_1("every_ms", LONGEST_MS)?),
            looks: at_least_1("looks", 10_000)?,
        };
        settings.check().map(|()| settings)
    }

    /// How deep the next request goes, in bytes.
    pub fn depth(&self, dice: &mut Dice) -> usize {
        let mut drawn = dice.below(self.depths.iter().map(|(_, share)| share).sum());
        for (bytes, share) in &self.depths {
            match drawn.checked_sub(*share) {
                None => return *bytes,
                Some(rest) => drawn = rest,
            }
        }
        unreachable!("what is drawn is below the sum")
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

/// A number that is neither 0 nor too large.
fn at_least_1(name: &str, most: usize) -> Result<usize, String> {
    match word(name)? {
        number if (1..=most).contains(&number) => Ok(number),
        number => Err(format!("`{name}={number}`: allowed are 1 to {most}")),
    }
}

/// Numbers from 1 with commas between them, each greater than the one before.
fn rising(name: &str) -> Result<Vec<usize>, String> {
    let value = text(name).ok_or_else(|| format!("the command line lacks `{name}=NUMBER,…`"))?;
    let numbers: Option<Vec<usize>> = value.split(',').map(number).collect();
    numbers
        .filter(|numbers| {
            numbers[0] > 0 && numbers.is_sorted_by(|a, b| a < b) && numbers.iter().all(|n| *n <= LONGEST_MS)
        })
        .ok_or_else(|| {
            format!(
                "`{name}={value}`: it must be numbers from 1 to {LONGEST_MS}, each greater than the last, as 1,10,100"
            )
        })
}

/// Depths and their shares.
fn depths() -> Result<Vec<(usize, u64)>, String> {
    let value = text("depths").ok_or("the command line lacks `depths=KIB:SHARE,…`")?;
    let one = |pair: &str| {
        let (kib, share) = pair.split_once(':')?;
        let (kib, share) = (number::<usize>(kib)?, number::<u32>(share)?);
        ((1..=DEEPEST_KIB).contains(&kib) && share > 0).then_some((kib << 10, u64::from(share)))
    };
    let depths: Option<Vec<_>> = value.split(',').map(one).collect();
    depths.ok_or_else(|| {
        format!(
            "`depths={value}`: it must be pairs as 2:50,8:10, a depth of 1 to {DEEPEST_KIB} KiB and its share, from 1"
        )
    })
}

fn number<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok()
}
