//! `reclaim-deferred`: what lies below the saved stack pointer of a thread is reclaimed once it has slept for a while.
//!
//! Dave Hansen's and David Stevens' shrinker (Linux kernel mailing list, 2026), after David Laight's garbage collection of the stacks of
//! long sleepers (2024): a switch does nothing; a reclaimer takes what sleepers do not need, in batches, with one broadcast each. Who
//! sleeps for less keeps its whole stack, and pays nothing. Who sleeps for longer, and who
//! is new, is populated before it runs.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Incoming, NewStack, NoFrame, Outgoing, Stack, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct ReclaimDeferred;

impl StackPolicy for ReclaimDeferred {
    const NAME: &'static str = "reclaim-deferred";

    const SWEEPS: bool = true;

    const ASKS_FOR_FRAMES: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_top()
    }

    #[inline]
    fn frames_to_switch_in(next: &Stack) -> usize {
        next.absent()
    }

    fn on_sweep<S: System>(asleep: &mut Outgoing<'_, S>) {
        asleep.rest_below_saved_stack_pointer();
    }

    fn make_whole<S: System>(next: &mut Incoming<'_, S>) {
        next.populate_all();
    }
}
