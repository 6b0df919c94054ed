//! `Once`: what is done once, whoever comes first.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;

use crate::sync::WaitQueue;
use crate::system::System;
use crate::time;

/// Nobody has begun.
const NEW: u8 = 0;
/// One thread is at it.
const RUNNING: u8 = 1;
/// It is done.
const DONE: u8 = 2;

/// Does something once, whichever thread comes first; the others wait: std's `Once`.
///
/// It is never poisoned, since a panic ends the run.
#[derive(Debug)]
pub struct Once<S> {
    state: AtomicU8,
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
}

impl<S: System> Once<S> {
    /// Creates one that nobody has called.
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(NEW), waiting: WaitQueue::new(), system: PhantomData }
    }

    /// Runs `f` if this is the first call; waits until the first call's has ended. What that one did is then seen.
    ///
    /// Who calls it again from within `f` waits for itself, as in std.
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            self.call(f);
        }
    }

    /// Says whether it is done.
    pub fn is_completed(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Waits until it is done.
    pub fn wait(&self) {
        self.waiting.wait_while::<S>(|| !self.is_completed());
    }

    /// Waits until it is done, for `timeout` at most. Returns whether it is done. std has no such function.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.waiting.wait_while_until::<S>(time::after::<S>(timeout), || !self.is_completed())
    }

    #[cold]
    fn call(&self, f: impl FnOnce()) {
        if self.state.compare_exchange(NEW, RUNNING, Ordering::Acquire, Ordering::Acquire).is_ok() {
            f();
            self.state.store(DONE, Ordering::SeqCst);
            self.waiting.wake_all::<S>();
        } else {
            self.wait();
        }
    }

    /// Makes it new again. The caller owns it.
    pub(crate) fn reset(&mut self) {
        *self.state.get_mut() = NEW;
    }
}

impl<S: System> Default for Once<S> {
    fn default() -> Self {
        Self::new()
    }
}
