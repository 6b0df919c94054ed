//! A loader that leaves the machine states of other Hermit loaders, for tests of the kernel's first steps.
//!
//! A kernel that any hermit-entry loader may start must not rely on what this project's own loader happens to leave.
//! The stub is that loader up to the kernel's entry ([`ebbtide_loader::boot`]), and then leaves what another one would:
//! control registers, page tables, stack and boot information. A word on the command line says which one's
//! (`stub=hermit-loader` or `stub=uhyve`); the kernel does not get to see it.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod handover;
#[cfg(target_os = "none")]
mod stack;
#[cfg(target_os = "none")]
mod state;
#[cfg(target_os = "none")]
mod tables;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("ebbtide-stub runs on the bare machine only; build it for a target without operating system");
}
