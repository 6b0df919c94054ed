//! `reclaim-on-sleep`: what lies below the saved stack pointer of a thread that does not run is reclaimed.
//!
//! Brian Gerst (Linux kernel mailing list, "Re: [RFC 00/14] Dynamic Kernel Stacks", 17 March 2024): "any stack pages
//! below the saved stack pointer of a sleeping task can be safely discarded. Before context switching to a task, fully
//! populate its task stack. After context switching from a task, reclaim its unused stack. This way, the task stack in
//! use is always fully allocated and we don't have to deal with page faults."

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Incoming, Leaving, NewStack, NoFrame, Outgoing, Stack, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct ReclaimOnSleep;

impl StackPolicy for ReclaimOnSleep {
    const NAME: &'static str = "reclaim-on-sleep";

    const RESTS_AT_SWITCH: bool = true;

    const ASKS_FOR_FRAMES: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_top()
    }

    #[inline]
    fn frames_to_switch_in(next: &Stack) -> usize {
        next.absent()
    }

    #[inline]
    fn before_switch_in<S: System>(next: &mut Incoming<'_, S>) {
        next.populate_all();
    }

    #[inline]
    fn after_switch_out<S: System>(prev: &mut Outgoing<'_, S>, _leaving: Leaving) {
        prev.rest_below_saved_stack_pointer();
    }
}
