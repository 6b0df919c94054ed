//! Threads that wait for something to happen.
//!
//! A thread waits in one queue at a time, so the link is in the thread and nothing is allocated. In which order it
//! enters, looks, sleeps and leaves, and why no wake-up is lost, stands in `wait_loop`.
//!
//! What is waited for is offered and not handed over: a thread that was woken and cannot run yet keeps nobody from it.
//! So one that did not queue may be faster, and who then goes back to wait does so in front of all others, where it
//! came from. But who comes anew while another was woken and has not looked yet gives way once. Otherwise a thread that
//! gives something up and at once takes it again would be faster each time, since it has the CPU, and would keep the
//! others from it for ever.
#![expect(unsafe_code, reason = "a thread leaves the queue from wherever it is, in constant time")]

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};

use intrusive_collections::{LinkedList, intrusive_adapter};

use crate::cpu;
use crate::platform::Platform;
use crate::stack::StackPolicy;
use crate::sync::SpinLock;
use crate::sync::wait_loop::{self, Waiter};
use crate::system::System;
use crate::thread::{self, Thread};
use crate::time::NEVER;

intrusive_adapter!(Waiting = &'static Thread: Thread { waiting => intrusive_collections::LinkedListAtomicLink });

/// A queue of waiting threads, first come first served.
#[derive(Default)]
pub struct WaitQueue {
    threads: SpinLock<LinkedList<Waiting>>,
    /// Threads that wakers took out and that have not gone on yet. Changed under the lock; read without it as a hint.
    woken: AtomicU32,
}

impl core::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WaitQueue").field("woken", &self.woken).finish_non_exhaustive()
    }
}

impl WaitQueue {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        Self { threads: SpinLock::new(LinkedList::new(Waiting::NEW)), woken: AtomicU32::new(0) }
    }

    /// Waits for as long as `condition` holds. Once it has said that it does not, it is not asked again: it may have
    /// taken what it asked for.
    pub fn wait_while<S: System>(&self, condition: impl FnMut() -> bool) {
        let went = self.wait_while_until::<S>(NEVER, condition);
        debug_assert!(went, "who waits for ever does not give up");
    }

    /// Waits for as long as `condition` holds, until `deadline` (nanoseconds since boot; [`NEVER`] does not come) at the
    /// latest. Returns whether the condition has said that it does not hold; then it is not asked again.
    #[must_use]
    pub fn wait_while_until<S: System>(&self, deadline: u64, mut condition: impl FnMut() -> bool) -> bool {
        self.give_way::<S>();
        !condition() || wait_loop::wait_while(&self.place::<S>(deadline), condition)
    }

    /// Enters the queue, runs `release` (which gives up what the condition depends on), and waits for one wake-up, until
    /// `deadline` (nanoseconds since boot; [`NEVER`] does not come) at the latest. Returns whether the wake-up came.
    pub fn wait_after_until<S: System>(&self, deadline: u64, release: impl FnOnce()) -> bool {
        let place = self.place::<S>(deadline);
        place.enter(false);
        release();
        wait_loop::sleep(&place)
    }

    /// Wakes the thread that has waited longest. Returns whether there was one.
    pub fn wake_one<S: System>(&self) -> bool {
        self.threads.with::<S, _>(|threads| self.wake_first::<S>(threads))
    }

    /// Wakes all threads that wait.
    pub fn wake_all<S: System>(&self) {
        self.threads.with::<S, _>(|threads| {
            while !threads.is_empty() {
                self.wake_first::<S>(threads);
            }
        });
    }

    /// Gives way, once, if a thread was woken that has not looked yet. [`WaitQueue::wait_while`] begins with it.
    pub fn give_way<S: System>(&self) {
        if self.woken.load(Ordering::Relaxed) > 0 {
            thread::yield_now::<S>();
        }
    }

    /// Wakes the first thread in the queue, which is locked: the thread passes through the lock before it goes on, so it
    /// cannot end before it is woken.
    fn wake_first<S: System>(&self, threads: &mut LinkedList<Waiting>) -> bool {
        let first = threads.pop_front();
        if let Some(thread) = first {
            self.woken.fetch_add(1, Ordering::Relaxed);
            if S::Policy::ASKS_FOR_FRAMES {
                thread.woken_from.store(core::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
            }
            thread::wake::<S>(thread);
        }
        first.is_some()
    }

    fn place<S: System>(&self, deadline: u64) -> Place<'_, S> {
        Place { queue: self, me: cpu::current::<S>(), deadline, system: PhantomData }
    }
}

/// Passes on the wake-up of a thread that was woken and cannot go on: what it was woken for is there, and the next one
/// may have it. The caller holds the thread, which has not gone on since.
pub(crate) fn pass_on<S: System>(thread: &Thread) {
    let queue = thread.woken_from.swap(core::ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the thread stands in a call of one of the queue's methods until it has seen that it was woken, and it cannot
    // while the caller holds it.
    if let Some(queue) = unsafe { queue.as_ref() } {
        queue.wake_one::<S>();
    }
}

/// The running thread, and the queue that it waits in.
struct Place<'a, S> {
    queue: &'a WaitQueue,
    me: &'static Thread,
    /// In nanoseconds since boot.
    deadline: u64,
    system: PhantomData<fn() -> S>,
}

impl<S: System> Place<'_, S> {
    /// Says whether a waker has taken this thread out of the queue, which is locked. Then the thread goes on.
    fn goes_on(&self) -> bool {
        let was_woken = !self.me.waiting.is_linked();
        if was_woken {
            self.queue.woken.fetch_sub(1, Ordering::Relaxed);
            if S::Policy::ASKS_FOR_FRAMES {
                self.me.woken_from.store(core::ptr::null_mut(), Ordering::Relaxed);
            }
        }
        was_woken
    }
}

impl<S: System> Waiter for Place<'_, S> {
    fn enter(&self, in_front: bool) {
        self.queue
            .threads
            .with::<S, _>(|threads| if in_front { threads.push_front(self.me) } else { threads.push_back(self.me) });
    }

    fn was_woken(&self) -> bool {
        self.queue.threads.with::<S, _>(|_| self.goes_on())
    }

    fn leave(&self) -> bool {
        self.queue.threads.with::<S, _>(|threads| {
            let was_woken = self.goes_on();
            if !was_woken {
                // SAFETY: a thread waits in one queue at a time, and this one has entered this queue.
                unsafe { threads.cursor_mut_from_ptr(self.me) }.remove();
            }
            was_woken
        })
    }

    fn is_late(&self) -> bool {
        self.deadline != NEVER && S::Platform::now() >= self.deadline
    }

    fn block(&self) {
        thread::block_until::<S>(self.deadline);
    }

    fn wake_next(&self) {
        self.queue.wake_one::<S>();
    }
}
