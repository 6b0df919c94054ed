//! The loader's part that knows aarch64: the arm64 Image, the way down to EL1, the PL011, the ways to end a machine, the
//! kernel's entry.

pub mod console;
pub mod enter;
pub mod exit;
pub mod image;
pub mod tables;
pub mod tree;
mod vectors;

use crate::Machine;

/// The machine that this loader boots on.
pub const MACHINE: Machine = Machine::Aarch64;
