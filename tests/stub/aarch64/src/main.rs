//! The stub for aarch64: leaves what hermit-loader leaves (`stub=hermit-loader`).

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod enter;
#[cfg(target_os = "none")]
mod handover;
#[cfg(target_os = "none")]
mod tables;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("ebbtide-stub-aarch64 runs on the bare machine only; build it for a target without operating system");
}
