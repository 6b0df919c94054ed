//! `stack::ensure` and `stack::remaining`: code that is about to go deep asks for stack, where it may sleep and can be refused.
//!
//! Matthew Wilcox (Linux kernel mailing list, "Re: [RFC 00/14] Dynamic Kernel Stacks", March 2024): code paths that go deep know
//! it, and can ask for more stack while they may still sleep and fail. Both exist under every policy, so an app need not know which
//! one it runs with. Where running threads have all of their stack, or get it where they touch it, `ensure` compares two numbers.
//!
//! Frames come as a spawn's do: from the allocator, with the last ones left alone; then from what nobody uses; then from what the other
//! CPUs can give up, for which the thread gives way. After that it fails. It is not parked: it runs, and who
//! asks can do with less, where a thread that is switched to cannot. So it waits for no other thread's frames, and no deadlock comes of it.
#![expect(unsafe_code, reason = "changes the running thread's stack")]

use core::fmt;

use memory_addresses::VirtAddr;

use crate::arch::{Cpu, PAGE_BYTES, Switch};
use crate::cpu;
use crate::stack::page::{NoFrame, Stack};
use crate::stack::policy::{NewStack, StackPolicy, populate_from_allocator};
use crate::stack::range;
use crate::system::System;
use crate::thread::stack_wait;

/// Why there is not as much stack as the code asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnsureError {
    /// Preemption or interrupts are off, so the thread may not wait for frames. It is refused under every policy.
    MayNotSleep,
    /// There is so little left that the call itself might overflow.
    TooLate {
        /// Bytes that must be left for it.
        least: usize,
    },
    /// The stack is not so large.
    TooSmall {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that can be had here.
        most: usize,
    },
    /// There is no frame, and what others could give up did not suffice.
    NoFrame {
        /// Frames that are free; the last ones are kept for threads that must run.
        free: usize,
    },
}

impl fmt::Display for EnsureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayNotSleep => f.write_str(
                "stack::ensure may have to wait for memory, and preemption or interrupts are off; ask before they are",
            ),
            Self::TooLate { least } => write!(
                f,
                "less than {least} bytes of the stack are left, which stack::ensure may take itself; ask before so much is used"
            ),
            Self::TooSmall { bytes, most } => write!(
                f,
                "the stack has no {bytes} bytes left: {most} can be had here; spawn the thread with a larger stack_size"
            ),
            Self::NoFrame { free } => write!(
                f,
                "no memory for more of the kernel stack ({free} frames of 4 KiB are free); give the machine more memory \
                 or go less deep"
            ),
        }
    }
}

impl core::error::Error for EnsureError {}

/// Bytes that the caller can use of its stack below here, with what the kernel needs to preempt it taken off: more than that
/// is a stack overflow.
#[inline(never)]
pub fn remaining<S: System>() -> usize {
    let here = S::Arch::stack_pointer();
    // With preemption off: the thread may be stepped aside from, and pinned meanwhile.
    cpu::without_preemption::<S, _>(|| {
        // SAFETY: this thread runs, so it holds itself.
        let stack = unsafe { cpu::current::<S>().stack_mut() };
        let lowest = if asks_for_more::<S>() { stack.lowest() } else { stack.limit() };
        left_above::<S>(here, lowest)
    })
}

/// Sees to it that `bytes` of stack can be used below here: [`remaining`] is at least so much afterwards. May sleep.
///
/// # Errors
///
/// The stack is not so large, there is no memory, or the thread may not sleep, or asks when it has next to nothing left. What was
/// populated stays so.
#[inline(never)]
pub fn ensure<S: System>(bytes: usize) -> Result<(), EnsureError> {
    if !cpu::may_sleep::<S>() {
        return Err(EnsureError::MayNotSleep);
    }
    let here = S::Arch::stack_pointer();
    let (top, limit, lowest) = cpu::without_preemption::<S, _>(|| {
        // SAFETY: this thread runs, so it holds itself.
        let stack = unsafe { cpu::current::<S>().stack_mut() };
        (stack.top(), stack.limit(), stack.lowest())
    });
    let most = left_above::<S>(here, limit);
    if bytes > most {
        return Err(EnsureError::TooSmall { bytes, most });
    }
    if !asks_for_more::<S>() {
        return Ok(());
    }
    // An overflow that is survived may change what is populated; so there is to be none while that is done here.
    if left_above::<S>(here, lowest) == 0 {
        return Err(EnsureError::TooLate { least: S::Arch::PREEMPT_STACK_BYTES as usize });
    }
    let used = top - here + bytes as u64 + S::Arch::PREEMPT_STACK_BYTES;
    populate_or_fail::<S>(used.div_ceil(PAGE_BYTES) as usize)
}

/// Says whether a thread may use no more of its stack than is populated. Elsewhere it has all of it, or gets what it touches.
pub(super) const fn asks_for_more<S: System>() -> bool {
    S::Policy::PAGES_UNASKED < usize::MAX
}

/// Bytes from `lowest` to `here` that a preemption leaves.
fn left_above<S: System>(here: VirtAddr, lowest: VirtAddr) -> usize {
    here.as_u64().saturating_sub(lowest.as_u64()).saturating_sub(S::Arch::PREEMPT_STACK_BYTES) as usize
}

/// Populates the first `pages` of the running thread's stack, with what nobody uses and what others can give up.
fn populate_or_fail<S: System>(pages: usize) -> Result<(), EnsureError> {
    if populate::<S>(pages).is_ok() {
        return Ok(());
    }
    range::collect::<S>();
    if populate::<S>(pages).is_ok() {
        return Ok(());
    }
    stack_wait::collect_from_others::<S>();
    range::collect::<S>();
    populate::<S>(pages).map_err(|NoFrame| EnsureError::NoFrame { free: S::kernel().frame_counts_now::<S>().free })
}

fn populate<S: System>(pages: usize) -> Result<(), NoFrame> {
    // The CPU that writes the entries makes them visible to the walkers.
    cpu::without_preemption::<S, _>(|| {
        // SAFETY: this thread runs, so it holds itself.
        let stack: &mut Stack = unsafe { cpu::current::<S>().stack_mut() };
        if stack.populated() >= pages {
            return Ok(());
        }
        S::Policy::on_ensure(&mut NewStack::new(stack, false, populate_from_allocator::<S>), pages)?;
        assert!(stack.populated() >= pages, "policy {} did not populate what a thread asked for", S::Policy::NAME);
        Ok(())
    })
}
