//! The border to user mode: what a stack policy does where a thread enters the kernel, and where it leaves it.
//!
//! Pasha Tatashin ("Re: [RFC 00/14] Dynamic Kernel Stacks", Linux kernel mailing list, March 2024): only the top page of a thread
//! that runs in user mode needs to be there, and the entry populates the rest. That code runs on the top page itself, with
//! interrupts off, so it calls little: until the rest is there nothing lies below but what `PREEMPT_STACK_BYTES` covers.
//!
//! A thread that is preempted in user mode stays on its top page; one that sleeps in a system call keeps what it has.
#![expect(unsafe_code, reason = "changes the running thread's stack")]

use core::sync::atomic::Ordering;

use memory_addresses::VirtAddr;

use crate::arch::Switch;
use crate::audit;
use crate::cpu::{self, PerCpu};
use crate::stack::{self, Incoming, Leaving, Outgoing, Stack, StackPolicy};
use crate::system::System;
use crate::thread::Thread;
use crate::thread::reserve::{is_ready, reserve};
use crate::thread::schedule::{preempt, switch_to, take_next};

/// The running thread has entered the kernel from user mode, and is on its top page. Interrupts are off.
#[inline(always)]
pub(crate) fn enter<S: System>() {
    if S::Policy::CHANGES_AT_ENTRY {
        let (cpu, me) = (cpu::this::<S>(), cpu::current::<S>());
        // SAFETY: this thread runs, so it holds itself.
        let stack = unsafe { me.stack_mut() };
        let painted = audit::painted::<S>(stack);
        stack.set_in_user_mode(false);
        if is_ready::<S>(cpu, stack) {
            grow::<S>(cpu, stack);
        } else {
            grow_when_possible::<S>(cpu, me);
        }
        audit::entered::<S>(me, painted);
    }
}

fn grow<S: System>(cpu: &PerCpu, stack: &mut Stack) {
    cpu.with_stack_cache(|cache| S::Policy::on_user_entry(&mut Incoming::<S>::new(stack, cache)));
}

/// The same where the reserve is short: it is refilled, or the thread is parked until there are frames for it.
#[cold]
#[inline(never)]
fn grow_when_possible<S: System>(cpu: &PerCpu, me: &'static Thread) {
    // SAFETY: as in `enter`.
    let stack = unsafe { me.stack_mut() };
    if reserve::<S>(cpu, stack).is_ok() {
        grow::<S>(cpu, stack);
    } else {
        // Whoever switches back here has populated the stack, as that of any thread that does not stand in user mode.
        switch_to::<S>(cpu, me, take_next(cpu), Leaving::Parked);
    }
}

/// The running thread goes to user mode as soon as the caller, whose frame pointer this is, has returned. Interrupts are off.
#[inline(always)]
pub(crate) fn leave<S: System>(frame_pointer: VirtAddr) {
    if S::Policy::CHANGES_AT_ENTRY {
        shrink::<S>(frame_pointer);
        // Somebody may wait for what rests now. What a preemption in user mode has room for, this has.
        if cpu::this::<S>().need_resched.load(Ordering::Relaxed) {
            preempt::<S>();
        }
    }
}

#[inline(never)]
fn shrink<S: System>(frame_pointer: VirtAddr) {
    while !cpu::this::<S>().with_stack_cache(|cache| cache.has_room_for_a_note()) {
        cpu::unmask_interrupts::<S>();
        cpu::without_preemption::<S, _>(|| stack::refill::<S>(cpu::this::<S>(), 0));
        cpu::mask_interrupts::<S>();
    }
    let (cpu, me) = (cpu::this::<S>(), cpu::current::<S>());
    // SAFETY: this thread runs, so it holds itself.
    let stack = unsafe { me.stack_mut() };
    // What runs until then, and what an interrupt needs that comes in user mode.
    let reach = VirtAddr::new(frame_pointer.as_u64() - S::Arch::PREEMPT_STACK_BYTES).max(stack.limit());
    cpu.with_stack_cache(|cache| S::Policy::on_user_exit(&mut Outgoing::<S>::new(stack, reach, cache)));
    stack.set_in_user_mode(true);
    audit::left::<S>(stack, reach);
}
