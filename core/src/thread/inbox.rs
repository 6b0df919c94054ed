//! A CPU's inbox: threads that other CPUs have made ready for it.
//!
//! A run queue is its own CPU's alone, so that a switch takes no lock. Another CPU puts the thread here, with one
//! compare-exchange, and interrupts the CPU if the inbox was empty: otherwise an interrupt that has not looked yet is on its
//! way. The CPU takes all at once. A thread that stands here is held by the inbox, and linked as in a run queue.

use core::sync::atomic::{AtomicPtr, Ordering};

use crate::thread::{Thread, from_pointer};

/// Threads that were made ready elsewhere.
#[derive(Debug)]
pub(crate) struct Inbox(AtomicPtr<Thread>);

impl Inbox {
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Says whether nobody stands here.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire).is_null()
    }

    /// Puts a thread in that the caller owns. Returns whether the inbox was empty.
    pub fn put(&self, thread: &'static Thread) -> bool {
        let new = core::ptr::from_ref(thread).cast_mut();
        let mut first = self.0.load(Ordering::Relaxed);
        loop {
            thread.next.set(from_pointer(first));
            // Release: the thread's link, and all that it did where it ran, is seen by the CPU that takes it. No ABA: only
            // the whole is ever taken.
            match self.0.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return first.is_null(),
                Err(now) => first = now,
            }
        }
    }

    /// The threads that stand here, the newest first. Only while no CPU takes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Thread> {
        core::iter::successors(from_pointer(self.0.load(Ordering::Acquire)), |thread| thread.next.get())
    }

    /// Takes all threads out, and hands them to `f` in the order in which they were put in.
    pub fn take(&self, mut f: impl FnMut(&'static Thread)) {
        let mut newest = from_pointer(self.0.swap(core::ptr::null_mut(), Ordering::AcqRel));
        let mut oldest: Option<&'static Thread> = None;
        while let Some(thread) = newest {
            newest = thread.next.get();
            thread.next.set(oldest);
            oldest = Some(thread);
        }
        while let Some(thread) = oldest {
            oldest = thread.next.get();
            f(thread);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;
    use crate::thread::Priority;

    #[test]
    fn threads_come_out_in_the_order_in_which_they_went_in() {
        let threads: Vec<&'static Thread> =
            (0..3).map(|_| &*Box::leak(Box::new(Thread::for_test(Priority::NORMAL)))).collect();
        let inbox = Inbox::new();
        assert!(inbox.is_empty());
        assert_eq!(threads.iter().map(|thread| inbox.put(thread)).collect::<Vec<_>>(), [true, false, false]);
        let mut taken = Vec::new();
        inbox.take(|thread| taken.push(thread));
        assert!(taken.iter().zip(&threads).all(|(a, b)| core::ptr::eq(*a, *b)) && taken.len() == 3);
        assert!(inbox.is_empty());
    }
}
