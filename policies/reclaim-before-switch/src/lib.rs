//! `reclaim-before-switch`: what lies below all that the switch can still reach is reclaimed before a thread leaves its CPU.
//!
//! Pasha Tatashin's reply to Brian Gerst (Linux kernel mailing list, "Re: [RFC 00/14] Dynamic Kernel Stacks", March 2024): with
//! interrupts off, common code could do so before `__switch_to`, with the stack pointer less a kilobyte as the bound, and no
//! architecture would need a part of its own behind the switch. Gerst called such a prediction "way too fragile": the bound
//! has to hold for code that the compiler makes. Against `reclaim-on-sleep` it keeps a page more wherever that kilobyte crosses
//! the border of one.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Incoming, Leaving, NewStack, NoFrame, Outgoing, Stack, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct ReclaimBeforeSwitch;

impl StackPolicy for ReclaimBeforeSwitch {
    const NAME: &'static str = "reclaim-before-switch";

    const RESTS_AT_SWITCH: bool = true;

    const RESTS_BEFORE_SWITCH: bool = true;

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
    fn before_switch<S: System>(prev: &mut Outgoing<'_, S>, _leaving: Leaving) {
        prev.rest_below_saved_stack_pointer();
    }
}
