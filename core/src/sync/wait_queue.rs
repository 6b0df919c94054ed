//! Threads that wait for something to happen.
//!
//! No wake-up is lost: a thread is in the queue before it looks at its condition for the last time, and a waker
//! changes the condition before it looks at the queue. A thread waits in one queue at a time, so the link is in the
//! thread and nothing is allocated.

use intrusive_collections::{LinkedList, intrusive_adapter};

use crate::cpu;
use crate::sync::SpinLock;
use crate::system::System;
use crate::thread::{self, Thread};

intrusive_adapter!(Waiting = &'static Thread: Thread { waiting => intrusive_collections::LinkedListAtomicLink });

/// A queue of waiting threads, first come first served.
#[derive(Default)]
pub struct WaitQueue(SpinLock<LinkedList<Waiting>>);

impl core::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("WaitQueue")
    }
}

impl WaitQueue {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        Self(SpinLock::new(LinkedList::new(Waiting::NEW)))
    }

    /// Waits for as long as `condition` holds. Once it has said that it does not, it is not asked again: it may have
    /// taken what it asked for.
    pub fn wait_while<S: System>(&self, mut condition: impl FnMut() -> bool) {
        let mut waits = condition();
        while waits {
            let me = self.enter::<S>();
            // Whoever changes the condition after this look finds us in the queue.
            waits = condition();
            if waits {
                self.sleep::<S>(me);
            }
            self.leave::<S>(me);
        }
    }

    /// Enters the queue, runs `release` (which gives up what the condition depends on), and waits for one wake-up.
    pub fn wait_after<S: System>(&self, release: impl FnOnce()) {
        let me = self.enter::<S>();
        release();
        self.sleep::<S>(me);
    }

    /// Wakes the thread that has waited longest. Returns whether there was one.
    pub fn wake_one<S: System>(&self) -> bool {
        self.0.with::<S, _>(|queue| match queue.pop_front() {
            // Under the lock: the thread passes through it before it goes on, so it cannot end before it is woken.
            Some(thread) => {
                thread::wake::<S>(thread);
                true
            }
            None => false,
        })
    }

    /// Wakes all threads that wait.
    pub fn wake_all<S: System>(&self) {
        self.0.with::<S, _>(|queue| {
            while let Some(thread) = queue.pop_front() {
                thread::wake::<S>(thread);
            }
        });
    }

    fn enter<S: System>(&self) -> &'static Thread {
        let me = cpu::current::<S>();
        self.0.with::<S, _>(|queue| queue.push_back(me));
        me
    }

    /// Blocks until a waker has taken this thread out of the queue.
    fn sleep<S: System>(&self, me: &'static Thread) {
        while self.0.with::<S, _>(|_| me.waiting.is_linked()) {
            thread::block::<S>();
        }
    }

    /// Takes this thread out of the queue if no waker did.
    fn leave<S: System>(&self, me: &'static Thread) {
        self.0.with::<S, _>(|queue| {
            if me.waiting.is_linked() {
                let mut cursor = queue.front_mut();
                while cursor.get().is_some_and(|thread| !core::ptr::eq(thread, me)) {
                    cursor.move_next();
                }
                cursor.remove();
            }
        });
    }
}
