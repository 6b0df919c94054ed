//! `Barrier` for threads, with std's names.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use crate::sync::{SpinLock, WaitQueue};
use crate::system::System;
use crate::time::{self, NEVER};

/// Threads wait here for each other, time after time: std's `Barrier`.
#[derive(Debug)]
pub struct Barrier<S> {
    needed: usize,
    arrived: SpinLock<usize>,
    /// How often the barrier has opened.
    opened: AtomicUsize,
    waiting: WaitQueue,
    system: PhantomData<fn() -> S>,
}

/// Says what became of a thread at a [`Barrier`]: std's `BarrierWaitResult`.
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Says whether this is the one thread of its round that opened the barrier.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl<S: System> Barrier<S> {
    /// Creates one that opens whenever `n` threads wait; for 0 it is always open.
    pub const fn new(n: usize) -> Self {
        Self {
            needed: n,
            arrived: SpinLock::new(0),
            opened: AtomicUsize::new(0),
            waiting: WaitQueue::new(),
            system: PhantomData,
        }
    }

    /// Waits until as many threads have come as the barrier needs. The last one does not wait, and is the leader.
    pub fn wait(&self) -> BarrierWaitResult {
        self.wait_until(NEVER).expect("who waits for ever does not give up")
    }

    /// Waits like [`Barrier::wait`], for `timeout` at most. None if the time was up: then it is as if the thread had not
    /// come. std has no such function.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(time::after::<S>(timeout))
    }

    /// Waits until `deadline`, in nanoseconds since boot.
    fn wait_until(&self, deadline: u64) -> Option<BarrierWaitResult> {
        let (round, is_leader) = self.arrived.with::<S, _>(|arrived| {
            *arrived += 1;
            let round = self.opened.load(Ordering::Relaxed);
            let is_leader = *arrived >= self.needed;
            if is_leader {
                *arrived = 0;
                self.opened.store(round.wrapping_add(1), Ordering::SeqCst);
            }
            (round, is_leader)
        });
        if is_leader {
            self.waiting.wake_all::<S>();
            return Some(BarrierWaitResult(true));
        }
        let is_closed = || self.opened.load(Ordering::SeqCst) == round;
        let passed = self.waiting.wait_while_until::<S>(deadline, is_closed) || !self.turn_back(round);
        passed.then_some(BarrierWaitResult(false))
    }

    /// Takes back that the running thread has come. Returns false if its round is over.
    fn turn_back(&self, round: usize) -> bool {
        self.arrived.with::<S, _>(|arrived| {
            let is_closed = self.opened.load(Ordering::Relaxed) == round;
            *arrived -= usize::from(is_closed);
            is_closed
        })
    }
}
