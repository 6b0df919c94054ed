//! Ebbtide on aarch64: page mapping, the switch, traps, current thread, CPU control.
//!
//! The folder of another architecture has the same files where it has the same things: a diff of the two is a porting
//! guide. What is plain code, the encodings, builds and is tested on any host; the rest needs the bare machine.
//!
//! Sections are those of the Arm Architecture Reference Manual for A-profile, DDI 0487.

#![cfg_attr(target_os = "none", no_std)]

pub mod descriptor;
pub mod syndrome;

#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod el2;
#[cfg(target_os = "none")]
mod float;
#[cfg(target_os = "none")]
mod paging;
#[cfg(target_os = "none")]
mod provoke;
#[cfg(target_os = "none")]
pub mod secondary;
#[cfg(target_os = "none")]
mod switch;
#[cfg(target_os = "none")]
mod trap;
#[cfg(target_os = "none")]
mod user;

#[cfg(target_os = "none")]
pub use cpu::{Lack, init_boot_cpu};

/// The architecture, as core's contracts see it.
#[derive(Debug)]
pub struct Aarch64;

#[cfg(target_os = "none")]
impl ebbtide_core::Arch for Aarch64 {
    const NAME: &'static str = "aarch64";
}
