//! Traps: every vector runs on a stack of its own (IST), so a trap may come at any instruction.
//!
//! An IST entry rewinds: a second trap of the same kind would overwrite the first one's frame. So interrupts are off
//! as long as a CPU stands on a trap stack, a handler there never faults, and what may be preempted moves to the
//! interrupted thread's own stack first. A nested trap is found by a depth count on the trap stack itself, before
//! anything is pushed, and reported from the #DF stack.

mod descriptors;
mod dispatch;
mod entry;

pub(crate) use descriptors::{TRAP_STACKS, init, init_secondary, provoke_with};
pub(crate) use entry::{Header, TrapFrame};
