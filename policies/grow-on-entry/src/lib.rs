//! `grow-on-entry`: a thread that runs in user mode has the top page of its kernel stack alone; the entry into the kernel populates
//! the rest, and the exit takes it back.
//!
//! Pasha Tatashin proposed it in the discussion of "[RFC 00/14] Dynamic Kernel Stacks" (Linux kernel mailing list, March 2024), and
//! named its price: a thread that sleeps in a system call keeps its whole stack, while one that was descheduled in user mode has not
//! made it grow. A thread that never leaves the kernel always has all of it.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Incoming, NewStack, NoFrame, Outgoing, Stack, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct GrowOnEntry;

impl StackPolicy for GrowOnEntry {
    const NAME: &'static str = "grow-on-entry";

    const ASKS_FOR_FRAMES: bool = true;

    const CHANGES_AT_ENTRY: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        if stack.is_for_user_mode() { stack.populate_top() } else { stack.populate_all() }
    }

    /// A thread in user mode needs none. One that is on its way there, or lacked frames at its entry, needs all.
    #[inline]
    fn frames_to_switch_in(next: &Stack) -> usize {
        if next.is_in_user_mode() { 0 } else { next.absent() }
    }

    #[inline]
    fn before_switch_in<S: System>(next: &mut Incoming<'_, S>) {
        if !next.is_in_user_mode() {
            next.populate_all();
        }
    }

    #[inline]
    fn on_user_entry<S: System>(current: &mut Incoming<'_, S>) {
        current.populate_all();
    }

    #[inline]
    fn on_user_exit<S: System>(current: &mut Outgoing<'_, S>) {
        current.rest_below_saved_stack_pointer();
    }
}
