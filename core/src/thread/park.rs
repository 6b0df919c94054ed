//! What a thread does with itself: park, sleep, know its own name.

use alloc::sync::Arc;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use core::time::Duration;

use crate::cpu;
use crate::platform::Platform;
use crate::system::System;
use crate::thread::{Thread, ThreadId, block, block_until, share, wake_handle};
use crate::time::{self, Instant};

/// A thread, to name it and to unpark it: std's `Thread`.
#[derive(Debug)]
pub struct ThreadHandle<S> {
    thread: Arc<Thread>,
    system: PhantomData<fn() -> S>,
}

impl<S> Clone for ThreadHandle<S> {
    fn clone(&self) -> Self {
        Self { thread: Arc::clone(&self.thread), system: PhantomData }
    }
}

impl<S: System> ThreadHandle<S> {
    pub(crate) fn new(thread: Arc<Thread>) -> Self {
        Self { thread, system: PhantomData }
    }

    /// The thread's number.
    pub fn id(&self) -> ThreadId {
        self.thread.id()
    }

    /// The thread's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.thread.name()
    }

    /// Makes the thread's current or next [`park`] return.
    pub fn unpark(&self) {
        // Release: what this thread did before is seen by the one that is unparked.
        if !self.thread.unparked.swap(true, Ordering::AcqRel) {
            wake_handle::<S>(&self.thread);
        }
    }
}

/// The running thread.
pub fn current<S: System>() -> ThreadHandle<S> {
    ThreadHandle::new(share(cpu::current::<S>()))
}

/// Waits until the thread is unparked; returns at once if it was since the last time.
pub fn park<S: System>() {
    let me = cpu::current::<S>();
    while !me.unparked.swap(false, Ordering::AcqRel) {
        block::<S>();
    }
}

/// Waits until the thread is unparked, for `timeout` at most; returns at once if it was since the last time.
pub fn park_timeout<S: System>(timeout: Duration) {
    let me = cpu::current::<S>();
    let deadline = time::after::<S>(timeout);
    while !me.unparked.swap(false, Ordering::AcqRel) {
        if S::Platform::now() >= deadline {
            return;
        }
        block_until::<S>(deadline);
    }
}

/// Waits for at least `duration`.
pub fn sleep<S: System>(duration: Duration) {
    wait_for::<S>(time::after::<S>(duration));
}

/// Waits until `deadline`.
pub fn sleep_until<S: System>(deadline: Instant<S>) {
    wait_for::<S>(deadline.nanoseconds());
}

/// Waits until `deadline`, in nanoseconds since boot.
fn wait_for<S: System>(deadline: u64) {
    while S::Platform::now() < deadline {
        block_until::<S>(deadline);
    }
}
