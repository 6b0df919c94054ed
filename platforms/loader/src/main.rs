//! The loader as a program: PVH in, hermit-entry out.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod handover;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("ebbtide-loader runs on the bare machine only; build it for a target without operating system");
}
