//! Turns a Hermit image into one file that `qemu -kernel` boots, through hermit-entry.
//!
//! ```text
//! packed file:  loader's code | data | zeroed memory | image header, image
//!               (x86_64: one ELF file, linked at 1 MiB; aarch64: one flat arm64 Image, linked at 1 GiB + 512 KiB)
//! boot:         first instructions note the counter ─► 64-bit mode or EL1, caches ─► first line on the serial port
//!               ─► memory map and command line ─► check the image ─► device tree ─► load it above ─► its entry point
//! ```
//!
//! What does not need the bare machine is plain code that is built and tested on the host as well; the packer
//! ([`embed`], [`check`](mod@check)) uses it there. What needs it is in one folder per architecture, and in `boot`, which is
//! common to the loader and to the stub that tests use to leave other loaders' machine states (its own `boot::Handover`).

#![no_std]

extern crate alloc;

pub mod check;
pub mod embed;
pub mod graft;
pub mod memory;
pub mod refusal;
pub mod seal;
pub mod tree;

mod machine;

pub use machine::{Machine, Relocation};

#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
mod heap;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub mod aarch64;
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
use aarch64 as arch;

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
pub mod x86_64;
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
use x86_64 as arch;
