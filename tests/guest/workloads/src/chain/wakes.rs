//! Who wakes whom.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::sync::Semaphore;

use crate::words::parse;

/// One thread hands items to another: so many are there to be taken, and for so many more there is room.
pub struct Edge {
    pub from: usize,
    pub to: usize,
    items: Semaphore,
    room: Semaphore,
}

impl Edge {
    /// From a later thread to an earlier one, or to itself, an item is there from the beginning: so each circle has one, and whatever the
    /// edges are, some thread can always go on.
    fn new((from, to): (usize, usize), ahead: usize) -> Self {
        let there = usize::from(from >= to);
        Self { from, to, items: Semaphore::new(there), room: Semaphore::new(ahead - there) }
    }

    /// Takes the next item, as soon as there is one.
    pub fn take(&self) {
        self.items.acquire();
        self.room.release();
    }

    /// Hands an item on, as soon as there is room.
    pub fn hand_on(&self) {
        self.room.acquire();
        self.items.release();
    }
}

/// The edges among so many threads: `line`, `ring`, `fan` (the first hands to all others, these to the last), `gather` (all others hand to
/// the last), or pairs as `0-1,1-2`.
///
/// # Errors
///
/// The text is nothing of that, or a thread is none.
pub fn edges(text: &str, threads: usize, ahead: usize) -> Result<Vec<Edge>, String> {
    let last = threads - 1;
    let line = (0..last).map(|thread| (thread, thread + 1));
    let pairs: Option<Vec<_>> = match text {
        "line" => Some(line.collect()),
        "ring" => Some(line.chain([(last, 0)]).collect()),
        "fan" => Some((1..last).flat_map(|thread| [(0, thread), (thread, last)]).collect()),
        "gather" => Some((0..last).map(|thread| (thread, last)).collect()),
        _ => text.split(',').map(|pair| pair.split_once('-')).map(|pair| parse(pair?.0).zip(parse(pair?.1))).collect(),
    };
    let pairs = pairs.filter(|pairs| pairs.iter().all(|(from, to)| from.max(to) < &threads));
    let pairs = pairs.ok_or_else(|| {
        format!("`wakes={text}`: it must be line, ring, fan, gather, or pairs of threads from 0 to {last}, as 0-1,1-2")
    })?;
    Ok(pairs.into_iter().map(|pair| Edge::new(pair, ahead)).collect())
}
