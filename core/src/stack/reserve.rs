//! The fault reserve: what the running thread's stack may still take while it runs, under a policy that grows stacks from faults.
//!
//! A fault comes at any instruction that touches the stack, so also in the middle of a change to the stack cache. So what it takes
//! lies apart: a word for each frame, taken with one swap. Whoever fills it does so an instruction at a time too, and a fault
//! between two of them finds as many frames as were there before. No lock, nothing is allocated, and nothing is masked.
//!
//! Two parties use a CPU's reserve, both on that CPU: `schedule()`, which fills it, and the handler of faults, which
//! interrupts that and runs to its end.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use memory_addresses::PhysAddr;

use crate::arch::PAGE_BYTES;
use crate::stack::slot::MAX_POLICY_STACK_BYTES;

/// Frames beyond what the next thread lacks: from the look at the reserve to the move of the stack pointer, who is left may need
/// one page more. The code in between takes less than a page, as `SWITCH_STACK_BYTES` is less.
const SPARE: usize = 1;

/// Most frames: a stack always has its top page, and larger ones are always populated.
const FRAMES: usize = (MAX_POLICY_STACK_BYTES / PAGE_BYTES) as usize - 1 + SPARE;

/// In a word that holds a frame; frame 0 is one as well.
const IS_FRAME: u64 = 1;

/// A CPU's frames for faults. All zero at first, as all data of a CPU.
#[derive(Debug)]
pub(crate) struct FaultReserve {
    frames: [AtomicU64; FRAMES],
    len: AtomicUsize,
    /// Pages that were populated by faults here, and for preemptions.
    grown: AtomicU64,
    /// Faults that populated some.
    faults: AtomicU64,
}

impl FaultReserve {
    pub(crate) const fn new() -> Self {
        Self {
            frames: [const { AtomicU64::new(0) }; FRAMES],
            len: AtomicUsize::new(0),
            grown: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// Number of frames. A fault may come right behind the look.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// How many frames there are too few for a switch to a thread whose stack lacks so many pages. None if it lacks none: what
    /// was reserved for who is left stays where it is.
    pub(crate) fn lacks(&self, absent: usize) -> usize {
        if absent == 0 { 0 } else { (absent + SPARE).saturating_sub(self.len()) }
    }

    /// Adds a frame. Called by `schedule()` alone, which looks first whether there is room.
    pub(crate) fn put(&self, frame: PhysAddr) {
        let room = self.frames.iter().find(|word| word.load(Ordering::Relaxed) == 0);
        room.expect("the largest stack's pages have room").store(frame.as_u64() | IS_FRAME, Ordering::Relaxed);
        // Afterwards: a fault between the two may take any frame, and there is one more than is counted.
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a frame.
    pub(crate) fn take(&self) -> Option<PhysAddr> {
        let taken = self.frames.iter().map(|word| word.swap(0, Ordering::Relaxed)).find(|word| *word != 0)?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(PhysAddr::new(taken & !IS_FRAME))
    }

    /// The frames.
    pub(crate) fn frames(&self) -> impl Iterator<Item = PhysAddr> {
        let words = self.frames.iter().map(|word| word.load(Ordering::Relaxed));
        words.filter(|word| *word != 0).map(|word| PhysAddr::new(word & !IS_FRAME))
    }

    /// Counts pages that a fault populated.
    pub(crate) fn count_grown(&self, pages: usize) {
        self.grown.fetch_add(pages as u64, Ordering::Relaxed);
    }

    /// Counts a fault that populated some.
    pub(crate) fn count_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Faults that have populated pages here.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Pages that faults and preemptions have populated here.
    pub(crate) fn grown(&self) -> u64 {
        self.grown.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken_once() {
        let reserve = FaultReserve::new();
        let frames = [0, PAGE_BYTES, 7 * PAGE_BYTES].map(PhysAddr::new);
        frames.into_iter().for_each(|frame| reserve.put(frame));
        assert_eq!(reserve.len(), 3);
        let mut taken: std::vec::Vec<_> = core::iter::from_fn(|| reserve.take()).collect();
        taken.sort();
        assert_eq!(taken, frames);
        assert_eq!((reserve.len(), reserve.take()), (0, None));
    }

    #[test]
    fn one_more_than_is_absent_is_asked_for_and_nothing_for_a_whole_stack() {
        let reserve = FaultReserve::new();
        assert_eq!((reserve.lacks(0), reserve.lacks(3)), (0, 4));
        reserve.put(PhysAddr::new(0));
        assert_eq!((reserve.lacks(0), reserve.lacks(3)), (0, 3));
    }

    #[test]
    fn the_largest_stack_has_room() {
        let reserve = FaultReserve::new();
        let absent = (MAX_POLICY_STACK_BYTES / PAGE_BYTES) as usize - 1;
        (0..reserve.lacks(absent) as u64).for_each(|page| reserve.put(PhysAddr::new(page * PAGE_BYTES)));
        assert_eq!((reserve.lacks(absent), reserve.frames().count()), (0, absent + SPARE));
    }
}
