//! `ensure`: a thread has 12 KiB of stack, and code that is about to go deeper asks for more while it may sleep and fail.
//!
//! Matthew Wilcox proposed it in the discussion of "[RFC 00/14] Dynamic Kernel Stacks" (Linux kernel mailing list, March 2024). Nothing
//! happens at a switch, and no page is missed where it cannot be brought; the price is that whoever goes deep has to know it:
//! code that does not ask overflows. So that there is something to ask for, the guard is one page and the stack the rest of the
//! slot: 28 of 32 KiB. A thread keeps what it asked for until it ends; one that goes to user mode keeps 12 KiB there, and may lose
//! the rest.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::System;
use ebbtide_core::stack::{Guard, Incoming, NewStack, NoFrame, Outgoing, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct Ensure;

impl StackPolicy for Ensure {
    const NAME: &'static str = "ensure";

    const GUARD: Guard = Guard::Page;

    const RUNS_POPULATED: bool = false;

    const PAGES_UNASKED: usize = 3;

    const CHANGES_AT_ENTRY: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate(Self::PAGES_UNASKED)
    }

    fn on_ensure(stack: &mut NewStack<'_>, pages: usize) -> Result<(), NoFrame> {
        stack.populate(pages)
    }

    /// What rested meanwhile is the thread's again, unless somebody has taken it.
    #[inline]
    fn on_user_entry<S: System>(current: &mut Incoming<'_, S>) {
        current.take_back_resting();
    }

    fn on_user_exit<S: System>(current: &mut Outgoing<'_, S>) {
        current.rest_beyond(Self::PAGES_UNASKED);
    }
}
