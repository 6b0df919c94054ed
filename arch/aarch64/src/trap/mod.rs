//! Traps: every one runs on SP_EL1, and threads on SP_EL0, so a trap may come at any instruction.
//!
//! SP_EL1 stands at the base of the CPU's trap stack whenever a thread runs. Everything is masked as long as a CPU stands
//! there, a handler there never faults, and what may be preempted moves to the interrupted thread's own stack first. The
//! CPU has vectors of their own for a trap that is taken while SP_EL1 is in use: that is a fault in a handler. It
//! is reported from the emergency stack, and never resumed.
//!
//! At EL0 SP_EL0 is the user's. What comes from there begins like all else; a system call goes on on the thread's kernel stack at
//! once ([`crate::user`]), and so does what ends the thread.

mod dispatch;
mod entry;
mod stacks;

pub(crate) use entry::TrapFrame;
pub(crate) use stacks::{
    EMERGENCY_NUMBER, TRAP_STACKS, TRAPS, init, note_first_stacks, set_trap_stack_top, trap_stack_top,
};
