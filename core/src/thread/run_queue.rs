//! A CPU's queue of threads that are ready to run: first in, first out, for each priority.
//!
//! Only its own CPU touches it, with interrupts off: a switch takes no lock and does no atomic operation.

use core::num::NonZeroU32;

use crate::thread::{Priority, Thread};

/// Number of priorities.
pub const PRIORITIES: usize = 32;

/// Threads that are ready to run, linked through themselves: no allocation, constant time.
#[derive(Debug)]
pub struct RunQueue {
    /// Bit `p` is set when a thread of priority `p` is queued, and may still be when none is any more: two threads
    /// that give way to each other empty their level at each switch.
    occupied: u32,
    first: [Option<&'static Thread>; PRIORITIES],
    /// The last thread of each level; old where there is no first.
    last: [Option<&'static Thread>; PRIORITIES],
}

impl RunQueue {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        Self { occupied: 0, first: [None; PRIORITIES], last: [None; PRIORITIES] }
    }

    /// Says whether no thread is queued.
    pub fn is_empty(&self) -> bool {
        let mut levels = self.occupied;
        while let Some(level) = levels.checked_ilog2() {
            if self.first[level as usize].is_some() {
                return false;
            }
            levels &= !(1 << level);
        }
        true
    }

    /// Queues a thread behind those of its priority.
    #[inline]
    pub fn push(&mut self, thread: &'static Thread) {
        let level = thread.priority().level();
        thread.next.set(None);
        if self.first[level].is_some()
            && let Some(last) = self.last[level]
        {
            last.next.set(Some(thread));
        } else {
            self.first[level] = Some(thread);
            self.occupied |= 1 << level;
        }
        self.last[level] = Some(thread);
    }

    /// Queues a thread before those of its priority.
    pub(crate) fn push_first(&mut self, thread: &'static Thread) {
        let level = thread.priority().level();
        let second = self.first[level].replace(thread);
        thread.next.set(second);
        if second.is_none() {
            self.last[level] = Some(thread);
        }
        self.occupied |= 1 << level;
    }

    /// Takes the first thread of the highest priority.
    #[inline]
    pub fn pop(&mut self) -> Option<&'static Thread> {
        self.pop_at_least(Priority::MIN)
    }

    /// The first thread of the highest priority, which stays where it is.
    pub fn first(&self) -> Option<&'static Thread> {
        self.first.iter().rev().find_map(|first| *first)
    }

    /// The threads that are queued, the most urgent first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Thread> {
        let levels = self.first.iter().rev().copied();
        levels.flat_map(|first| core::iter::successors(first, |thread| thread.next.get()))
    }

    /// Forgets what no longer counts, so that two queues of the same threads are the same.
    pub(crate) fn forget_old(&mut self) {
        for level in 0..PRIORITIES {
            if self.first[level].is_none() {
                self.last[level] = None;
                self.occupied &= !(1 << level);
            }
        }
    }

    /// Takes the first thread of the highest priority, if that is at least `least`.
    #[inline]
    pub fn pop_at_least(&mut self, least: Priority) -> Option<&'static Thread> {
        while let Some(levels) = NonZeroU32::new(self.occupied & u32::MAX << least.level()) {
            let level = levels.ilog2();
            if let Some(thread) = self.first[level as usize] {
                self.first[level as usize] = thread.next.get();
                return Some(thread);
            }
            self.occupied &= !(1 << level);
        }
        None
    }
}

/// How many threads [`RunQueue::pop_that`] looks at, at most.
const MOST_LOOKS: usize = 64;

impl RunQueue {
    /// Takes the first thread, of the highest priority, that `fits`; of many threads, only the first ones are asked.
    pub fn pop_that(&mut self, fits: impl Fn(&Thread) -> bool) -> Option<&'static Thread> {
        let mut looks = 0;
        for level in (0..PRIORITIES).rev() {
            let mut before: Option<&'static Thread> = None;
            let mut at = self.first[level];
            while let Some(thread) = at {
                if looks == MOST_LOOKS {
                    return None;
                }
                looks += 1;
                if fits(thread) {
                    self.unlink(level, before, thread);
                    return Some(thread);
                }
                before = at;
                at = thread.next.get();
            }
        }
        None
    }

    /// Takes `thread` out, which comes after `before` or is the first of its level.
    fn unlink(&mut self, level: usize, before: Option<&'static Thread>, thread: &'static Thread) {
        match before {
            Some(before) => {
                before.next.set(thread.next.get());
                if thread.next.get().is_none() {
                    self.last[level] = Some(before);
                }
            }
            None => self.first[level] = thread.next.get(),
        }
    }
}

impl Default for RunQueue {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn thread(level: u8) -> &'static Thread {
        Box::leak(Box::new(Thread::for_test(Priority::new(level).unwrap())))
    }

    proptest! {
        /// Against a plain model: a queue for each priority.
        #[test]
        fn serves_by_priority_and_then_first_come(steps in proptest::collection::vec((0..6u8, 0..30u8), 1..60)) {
            let mut queue = RunQueue::new();
            let mut model: Vec<VecDeque<_>> = (0..32).map(|_| VecDeque::new()).collect();
            for (what, level) in steps {
                let highest = model.iter().rposition(|q| !q.is_empty());
                match what {
                    0 | 1 => {
                        let thread = thread(level);
                        queue.push(thread);
                        model[level as usize].push_back(thread);
                    }
                    2 => {
                        prop_assert!(same(queue.first(), highest.and_then(|h| model[h].front().copied())));
                        let expected = highest.and_then(|h| model[h].pop_front());
                        prop_assert!(same(queue.pop(), expected));
                    }
                    4 => {
                        let fits = |thread: &Thread| thread.priority().level() % 2 == 1;
                        let odd = (0..32).rev().find(|l| l % 2 == 1 && !model[*l].is_empty());
                        prop_assert!(same(queue.pop_that(fits), odd.and_then(|l| model[l].pop_front())));
                    }
                    5 => {
                        // The last one of its level, so that what is pushed next comes behind the one before it.
                        let last = model[level as usize].back().copied();
                        let is_last = |thread: &Thread| last.is_some_and(|last| core::ptr::eq(last, thread));
                        prop_assert!(same(queue.pop_that(is_last), last));
                        model[level as usize].pop_back();
                    }
                    _ => {
                        let expected = highest.filter(|h| *h >= level.into()).and_then(|h| model[h].pop_front());
                        prop_assert!(same(queue.pop_at_least(Priority::new(level).unwrap()), expected));
                    }
                }
                prop_assert_eq!(queue.is_empty(), model.iter().all(VecDeque::is_empty));
            }
        }
    }

    fn same(a: Option<&'static Thread>, b: Option<&'static Thread>) -> bool {
        a.map(core::ptr::from_ref) == b.map(core::ptr::from_ref)
    }
}
