//! What the next thread lacks, and where it comes from before a switch is committed to.
#![expect(unsafe_code, reason = "looks at the stacks of threads that this CPU holds")]

use crate::arch::Cpu;
use crate::cpu::{self, PerCpu};
use crate::stack::{self, Leaving, Stack, StackPolicy};
use crate::system::System;
use crate::thread::{Priority, Thread, stack_wait};

/// Says whether a thread that this CPU has taken can be switched to with what is in reserve: its stack is `next`.
#[inline(always)]
pub(super) fn is_ready<S: System>(cpu: &PerCpu, next: &Stack) -> bool {
    if S::Policy::SWEEPS {
        return !next.is_lacking();
    }
    let need = frames_needed::<S>(cpu, next);
    cpu.with_stack_cache(|cache| cache.is_ready::<S::Policy>(need))
}

/// How many frames the switch to a thread takes from the stack cache.
#[inline(always)]
fn frames_needed<S: System>(cpu: &PerCpu, next: &Stack) -> usize {
    let need = S::Policy::frames_to_switch_in(next);
    // What is reserved for faults is there for the next one.
    if S::Policy::GROWS_ON_FAULT { cpu.fault_reserve.lacks(need) } else { need }
}

/// Refills the reserve for `next`, or parks it and takes another thread, until there is one that can be switched to. There
/// is none if `prev` need not leave: then it goes on.
pub(super) fn one_that_can<S: System>(
    cpu: &PerCpu,
    prev: &'static Thread,
    mut next: &'static Thread,
    leaving: Leaving,
) -> Option<&'static Thread> {
    loop {
        // SAFETY: this CPU took `next` off its queue, or it is this CPU's idle thread: nobody else holds it.
        if reserve::<S>(cpu, unsafe { next.stack_mut() }).is_ok() {
            return Some(next);
        }
        stack_wait::park::<S>(cpu, next);
        let least = match leaving {
            Leaving::Yielded | Leaving::Preempted => prev.priority(),
            Leaving::Blocked | Leaving::Moved | Leaving::Exited | Leaving::Parked | Leaving::Idle => Priority::MIN,
        };
        let other = cpu.with_run_queue(|queue| queue.pop_at_least(least));
        let leaves = matches!(leaving, Leaving::Blocked | Leaving::Moved | Leaving::Exited | Leaving::Parked);
        let idle = || leaves.then(|| cpu.idle());
        next = other.or_else(idle)?;
    }
}

/// Refills the stack cache with what a thread lacks to be switched to. If that fails, what rests of its stack is taken back
/// first, then the stacks without a thread give theirs. While others wait for frames, a thread that lacks some gets none.
///
/// # Errors
///
/// There are none; the number is what it lacks.
pub(super) fn reserve<S: System>(cpu: &PerCpu, stack: &mut Stack) -> Result<(), usize> {
    loop {
        let reserved = try_reserve::<S>(cpu, stack);
        // Who runs may have grown meanwhile, with what is reserved for faults. There is an end to that.
        if !S::Policy::GROWS_ON_FAULT || reserved.is_err() || is_ready::<S>(cpu, stack) {
            return reserved;
        }
    }
}

#[inline(always)]
fn try_reserve<S: System>(cpu: &PerCpu, stack: &mut Stack) -> Result<(), usize> {
    let mut need = frames_needed::<S>(cpu, stack);
    S::Arch::preempt_disable();
    cpu::unmask_interrupts::<S>();
    let refill = |need| (need == 0 || !stack_wait::is_waited_for::<S>()) && stack::refill::<S>(cpu, need);
    let mut filled = refill(need);
    if !filled {
        stack.take_back_resting::<S::Arch, S::Policy>();
        need = frames_needed::<S>(cpu, stack);
        filled = refill(need);
        if !filled && !stack_wait::is_waited_for::<S>() {
            stack::recycle::<S>();
            filled = refill(need);
        }
    }
    cpu::mask_interrupts::<S>();
    S::Arch::preempt_enable();
    if need == 0 {
        // The refill for room in the ring may have brought some.
        stack_wait::frames_came::<S>();
    }
    if filled { Ok(()) } else { Err(need) }
}
