//! Which pages of a stack were accessed: read off the entries, for a policy that asks.
//!
//! Andy Lutomirski's idea ("Re: [RFC 00/14] Dynamic Kernel Stacks", Linux kernel mailing list, March 2024). Walkers write such entries
//! while core does, so each write here is one atomic operation on the entry as it is then, and what a walker noted is never written
//! over unseen. The bit is a hint all the same, in both directions: a CPU may set it for a page that it only speculated about, and
//! one that still knows a translation does not set it again when it was cleared. Nothing but memory depends on it: a page that
//! rests lies below the saved stack pointer, whatever its bit says, and is freed like all others.

use crate::arch::{Paging, StackEntry};
use crate::stack::page::{Rested, Stack};
use crate::stack::ring::Ring;
use crate::sync::atomic::Ordering;

impl Stack {
    /// Lets pages rest from the lowest one up to the first that was accessed, but none of the first `keep`, and notes that in
    /// `ring`. The holder has seen to the same as for [`Stack::rest`].
    #[inline]
    pub(crate) fn rest_unaccessed<P: Paging>(&mut self, keep: usize, ring: &mut Ring) -> Rested {
        let generation = self.next_generation::<P>();
        let mut first = self.populated();
        while first > keep && self.rest_if_unaccessed::<P>(first - 1, generation) {
            first -= 1;
        }
        if first == self.populated() {
            return Rested { pages: 0, is_new: false };
        }
        self.note_rest(first, generation, ring)
    }

    fn rest_if_unaccessed<P: Paging>(&self, page: usize, generation: u32) -> bool {
        let entry = self.entry(page);
        let old = entry.load(Ordering::Relaxed);
        let StackEntry::Present { frame } = P::decode_stack(old) else { self.not_present(page) };
        if old & P::ACCESSED != 0 {
            return false;
        }
        let resting = P::encode_stack(StackEntry::Resting { frame, generation });
        // If a walker comes in between, it was accessed.
        entry.compare_exchange(old, resting, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Forgets that the populated pages below the first `keep` were accessed. Returns how many entries were written.
    ///
    /// Nothing is invalidated: a CPU that still knows such a page uses it without noting that, so it may come to rest though it is
    /// in use now and then. That costs its way back, and breaks nothing.
    pub(crate) fn forget_accesses<P: Paging>(&mut self, keep: usize) -> usize {
        let accessed = |page: &usize| self.entry(*page).load(Ordering::Relaxed) & P::ACCESSED != 0;
        let written = (keep..self.populated()).filter(accessed);
        written.fold(0, |count, page| {
            self.entry(page).fetch_and(!P::ACCESSED, Ordering::Relaxed);
            count + 1
        })
    }

    /// Prepares the populated pages of a stack for a new thread, whose accesses are forgotten at every `period`-th switch away from it;
    /// never, if that is 0. What an earlier thread has accessed is forgotten.
    ///
    /// The top page never goes, and no page of an always populated stack: these count as accessed. So a trap that begins on such a
    /// stack never meets an entry that another trap would have to write.
    pub(crate) fn begin_accesses<P: Paging>(&mut self, period: u16) {
        let first = if self.is_pinned() { self.populated() } else { self.populated().min(1) };
        for page in 0..first {
            self.entry(page).fetch_or(P::ACCESSED, Ordering::Relaxed);
        }
        self.forget_accesses::<P>(first);
        self.forgets_after(period);
    }
}
