//! Before a thread leaves its CPU: what a policy takes of its stack while it still runs on it.
//!
//! Pasha Tatashin's reply to Brian Gerst ("Re: [RFC 00/14] Dynamic Kernel Stacks", Linux kernel mailing list, March 2024): the pages
//! that a thread does not need could go in common code, before the stack pointer moves, if what the switch may still push is
//! bounded. Gerst called it "way too fragile", for a stack pointer is predicted. Here the bound is
//! [`SWITCH_STACK_BYTES`](crate::arch::Switch::SWITCH_STACK_BYTES) below the stack pointer of who switches, and this holds it:
//!
//! - Interrupts are off, and all traps have stacks of their own, those that nothing masks too. So nothing is pushed here but by the
//!   code from here to the switch. Should that panic, its report may end in one of a page fault.
//! - It is called where nothing stands between it and the switch: next is taken and populated.
//! - Neither the compiler nor a fault tells how deep that code goes: a CPU that still knows the translation of a page that has
//!   gone uses it all the same. So it is measured ([`audit::departed`]) in every build that checks.
//! - The thread is in no queue, and if it blocks, its state word is not BLOCKED: nobody runs it before it is handed on.
#![expect(unsafe_code, reason = "changes the running thread's stack")]

use memory_addresses::VirtAddr;

use crate::arch::{Cpu, Switch};
use crate::audit;
use crate::cpu::PerCpu;
use crate::stack::{Leaving, Outgoing, StackPolicy};
use crate::system::System;
use crate::thread::Thread;

/// `prev` runs, and is about to be switched away from for certain. Interrupts are off.
#[inline(always)]
pub(super) fn prepare<S: System>(cpu: &PerCpu, prev: &'static Thread, leaving: Leaving) {
    // The stack of one that ends goes as a whole.
    if S::Policy::RESTS_BEFORE_SWITCH && leaving != Leaving::Exited {
        const {
            assert!(!S::Policy::RESTS_BEFORE_SWITCH || S::Policy::RESTS_AT_SWITCH, "a rest needs room: RESTS_AT_SWITCH")
        };
        // SAFETY: it runs here, so this CPU holds it.
        let stack = unsafe { prev.stack_mut() };
        let stack_pointer = S::Arch::stack_pointer();
        let below = VirtAddr::new(stack_pointer.as_u64() - S::Arch::SWITCH_STACK_BYTES);
        let reach = if below >= stack.limit() { below } else { stack.in_bounds(below) };
        audit::departs::<S>(cpu, stack_pointer, reach);
        cpu.with_stack_cache(|cache| S::Policy::before_switch(&mut Outgoing::<S>::new(stack, reach, cache), leaving));
    }
}
