//! The loader's part that knows x86_64: PVH entry, 64-bit mode, COM1, the ways to end a machine, the kernel's entry.

pub mod console;
pub mod enter;
pub mod exit;
pub mod pvh;
pub mod start_info;
pub mod tables;

use crate::Machine;

/// The machine that this loader boots on.
pub const MACHINE: Machine = Machine::X86_64;
