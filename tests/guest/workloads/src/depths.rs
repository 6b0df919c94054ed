//! How deep threads go on their stacks, and going there.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;

use ebbtide::stack;
use ebbtide_figures::Dice;

use crate::words::parse;

/// How deep a thread may go, in KiB: a stack has 16, and what is above and below takes some.
const DEEPEST_KIB: usize = 12;

/// Bytes that a thread may need below its depth, to wait there.
const TO_WAIT_BYTES: usize = 1024;

/// A distribution of depths: bytes, and how many of all go so deep.
#[derive(Clone)]
pub struct Depths {
    shares: Vec<(usize, u64)>,
}

impl Depths {
    /// Reads pairs as `2:50,8:10`.
    ///
    /// # Errors
    ///
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let one = |pair: &str| {
            let (kib, share) = pair.split_once(':')?;
            let (kib, share) = (parse::<usize>(kib)?, parse::<u32>(share)?);
            ((1..=DEEPEST_KIB).contains(&kib) && share > 0).then_some((kib << 10, u64::from(share)))
        };
        let shares: Option<Vec<_>> = text.split(',').map(one).collect();
        shares.map(|shares| Self { shares }).ok_or_else(|| {
            format!("it must be pairs as 2:50,8:10, a depth of 1 to {DEEPEST_KIB} KiB and its share, from 1")
        })
    }

    /// How deep the next one goes, in bytes.
    pub fn draw(&self, dice: &mut Dice) -> usize {
        let mut drawn = dice.below(self.shares.iter().map(|(_, share)| share).sum());
        for (bytes, share) in &self.shares {
            match drawn.checked_sub(*share) {
                None => return *bytes,
                Some(rest) => drawn = rest,
            }
        }
        unreachable!("what is drawn is below the sum")
    }
}

/// Goes so many bytes deep, calls `there`, and comes back.
pub fn go(depth: usize, there: &mut dyn FnMut()) {
    stack::ensure(depth + TO_WAIT_BYTES).unwrap_or_else(|error| panic!("{depth} bytes of stack: {error}"));
    descend(stack::remaining().saturating_sub(depth), there);
}

/// Calls itself until no more than `left` bytes of the stack remain, and waits there. What it has on the stack must still be there then.
#[inline(never)]
fn descend(left: usize, there: &mut dyn FnMut()) {
    let canary = black_box([left; 24]);
    if stack::remaining() > left {
        descend(left, there);
    } else {
        there();
    }
    assert!(black_box(&canary).iter().all(|word| *word == left), "a stack was changed while its thread waited");
}
