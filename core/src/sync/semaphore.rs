//! `Semaphore`: permits that threads take and give.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use crate::sync::WaitQueue;
use crate::system::System;
use crate::time;

/// A number of permits. Who wants one waits until there is one. std has none of these.
///
/// A permit belongs to nobody: one thread may acquire it and another release it.
#[derive(Debug)]
pub struct Semaphore<S> {
    permits: AtomicUsize,
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
}

impl<S: System> Semaphore<S> {
    /// Creates one with this many permits.
    pub const fn new(permits: usize) -> Self {
        Self { permits: AtomicUsize::new(permits), waiting: WaitQueue::new(), system: PhantomData }
    }

    /// Takes a permit, and waits for one if there is none.
    pub fn acquire(&self) {
        self.waiting.wait_while::<S>(|| !self.try_acquire());
    }

    /// Takes a permit if there is one. Returns whether it did.
    #[must_use]
    pub fn try_acquire(&self) -> bool {
        // Acquire: what was done before the permit was given is seen by who takes it.
        let take = |permits: usize| permits.checked_sub(1);
        self.permits.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok()
    }

    /// Takes a permit, and waits for one for `timeout` at most. Returns whether it took one.
    #[must_use]
    pub fn acquire_timeout(&self, timeout: Duration) -> bool {
        self.waiting.wait_while_until::<S>(time::after::<S>(timeout), || !self.try_acquire())
    }

    /// Gives a permit, and wakes the thread that has waited longest for one.
    ///
    /// # Panics
    ///
    /// There are as many permits as can be counted.
    pub fn release(&self) {
        let give = |permits: usize| permits.checked_add(1);
        let given = self.permits.fetch_update(Ordering::SeqCst, Ordering::Relaxed, give);
        given.expect("fewer permits than a semaphore can count");
        self.waiting.wake_one::<S>();
    }

    /// The permits that are there to be taken, at this moment.
    pub fn available(&self) -> usize {
        self.permits.load(Ordering::Relaxed)
    }
}
