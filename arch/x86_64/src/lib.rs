//! Ebbtide on x86_64: page mapping, the switch, traps, per-CPU base, CPU control.
//!
//! The folder of another architecture has the same files, one for one: a diff of the two is a porting guide.

#![cfg_attr(not(test), no_std)]

mod cpu;
mod float;
mod paging;
mod provoke;
pub mod secondary;
mod switch;
mod trap;
mod user;

use ebbtide_core::Arch;

pub use cpu::{Lack, init_boot_cpu};

/// The architecture, as core's contracts see it.
#[derive(Debug)]
pub struct X86_64;

impl Arch for X86_64 {
    const NAME: &'static str = "x86_64";
}
