//! Spin locks: the only locks that scheduler, frame allocator, heap, console and timers use.
//!
//! A holder is never switched out: a lock is held either with preemption off ([`SpinLock::with`]) or with interrupts
//! off ([`SpinLock::with_interrupts_off`]). A lock that an interrupt handler takes is always taken the second way.
#![expect(unsafe_code, reason = "a lock hands out references to what it guards")]

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::Cpu;
use crate::cpu;
use crate::stop::{is_the_end, stop_if_the_run_ends};
use crate::system::System;

/// A value behind a spin lock.
#[derive(Debug, Default)]
pub struct SpinLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one CPU at a time reach the value.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// Creates an unlocked value.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value with preemption off.
    pub fn with<S: System, R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        cpu::without_preemption::<S, R>(|| self.locked::<S, R>(f))
    }

    /// Runs `f` on the value with interrupts off.
    pub fn with_interrupts_off<S: System, R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        cpu::without_interrupts::<S, R>(|| self.locked::<S, R>(f))
    }

    /// Runs `f` on the value if the lock is free right now, with preemption off.
    pub fn try_with<S: System, R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        cpu::without_preemption::<S, _>(|| {
            self.try_acquire().then(|| {
                let result = f(self.value_mut());
                self.held.store(false, Ordering::Release);
                result
            })
        })
    }

    /// Runs `f` on the value; the caller has seen to it that this CPU cannot be taken away meanwhile.
    pub(crate) fn locked<S: System, R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        while !self.try_acquire() {
            while self.held.load(Ordering::Relaxed) {
                stop_if_the_run_ends::<S>();
                S::Arch::relax();
            }
        }
        let result = f(self.value_mut());
        self.held.store(false, Ordering::Release);
        result
    }

    /// Says whether nobody holds the lock, at this moment.
    pub(crate) fn is_free(&self) -> bool {
        !self.held.load(Ordering::Acquire)
    }

    fn try_acquire(&self) -> bool {
        !self.held.swap(true, Ordering::Acquire)
    }

    #[expect(clippy::mut_from_ref, reason = "the lock is what makes it exclusive")]
    fn value_mut(&self) -> &mut T {
        // SAFETY: `held` is ours until the caller clears it, so nobody else has a reference.
        unsafe { &mut *self.value.get() }
    }
}

/// A spin lock for `lock_api`, held with preemption off: what the heap's `talc` is built on. Its holder may wait for the other
/// CPUs' answers to an interrupt ([`heap::trim`](crate::memory::heap)), so nobody waits for it with interrupts off.
#[derive(Debug)]
pub struct RawSpinLock<S> {
    held: AtomicBool,
    system: PhantomData<fn() -> S>,
}

// SAFETY: `lock` and `try_lock` return success only after `held` went from false to true.
unsafe impl<S: System> lock_api::RawMutex for RawSpinLock<S> {
    const INIT: Self = Self { held: AtomicBool::new(false), system: PhantomData };

    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        S::Arch::preempt_disable();
        while self.held.swap(true, Ordering::Acquire) {
            while self.held.load(Ordering::Relaxed) {
                stop_if_the_run_ends::<S>();
                debug_assert!(
                    S::Arch::interrupts_enabled() || is_the_end::<S>(),
                    "the holder may wait for this CPU's answer"
                );
                S::Arch::relax();
            }
        }
    }

    fn try_lock(&self) -> bool {
        S::Arch::preempt_disable();
        let won = !self.held.swap(true, Ordering::Acquire);
        if !won {
            cpu::allow_preemption::<S>();
        }
        won
    }

    unsafe fn unlock(&self) {
        self.held.store(false, Ordering::Release);
        cpu::allow_preemption::<S>();
    }
}
