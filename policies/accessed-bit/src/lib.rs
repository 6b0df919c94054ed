//! `accessed-bit`: what a thread that does not run has below its saved stack pointer is reclaimed, unless it was ever accessed.
//!
//! Andy Lutomirski (Linux kernel mailing list, "Re: [RFC 00/14] Dynamic Kernel Stacks", March 2024): populate the stack before a switch,
//! with the accessed bits clear, and look at them after it; what was not accessed goes to the next thread. So nothing is taken
//! that the thread has ever used, and a switch to it maps nothing that it is likely to use.
//!
//! The price: a thread that goes deep once keeps those pages until it ends. With the setting `ebbtide.accessed` it is forgotten
//! now and then what it has accessed, and what it does not access again goes. And when threads wait for frames, everything
//! below the saved stack pointer goes, accessed or not.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Incoming, Leaving, NewStack, NoFrame, Outgoing, Stack, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct AccessedBit;

impl StackPolicy for AccessedBit {
    const NAME: &'static str = "accessed-bit";

    const RESTS_AT_SWITCH: bool = true;

    const ASKS_FOR_FRAMES: bool = true;

    const READS_ACCESSED_BITS: bool = true;

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
        if prev.frames_are_waited_for() {
            prev.rest_below_saved_stack_pointer();
        } else {
            prev.rest_unaccessed();
            prev.forget_accesses();
        }
    }
}
