//! `grow-on-fault`: a stack begins with its top page, and gets the others when they are first touched, from page faults.
//!
//! Pasha Tatashin's "[RFC 00/14] Dynamic Kernel Stacks" (Linux kernel mailing list, 11 March 2024), with one thing changed: the RFC grew
//! stacks from the double fault, which is an abort, and what the CPU was delivering is lost with it. Here the page fault has a stack
//! of its own, and resumes. As there, the pages that a thread lacks are kept in reserve on its CPU while it runs, so that growth never
//! finds none; and a thread that was deep once keeps its pages until it ends.
//!
//! A switch maps nothing and takes nothing: it fills the reserve, where that is short.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Growing, Incoming, NewStack, NoFrame, Stack, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct GrowOnFault;

impl StackPolicy for GrowOnFault {
    const NAME: &'static str = "grow-on-fault";

    const ASKS_FOR_FRAMES: bool = true;

    const RUNS_POPULATED: bool = false;

    const GROWS_ON_FAULT: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_top()
    }

    #[inline]
    fn frames_to_switch_in(next: &Stack) -> usize {
        next.absent()
    }

    #[inline]
    fn before_switch_in<S: System>(next: &mut Incoming<'_, S>) {
        next.reserve_absent();
    }

    fn on_stack_fault<S: System>(current: &mut Growing<'_, S>) {
        current.populate_down_to_fault();
    }
}
