//! The loader as a program: PVH or arm64 Image in, hermit-entry out.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[path = "handover/aarch64.rs"]
mod handover;
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
#[path = "handover/x86_64.rs"]
mod handover;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("ebbtide-loader runs on the bare machine only; build it for a target without operating system");
}
