//! The stub for x86_64: leaves what hermit-loader or uhyve leaves (`stub=hermit-loader`, `stub=uhyve`).

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
    eprintln!("ebbtide-stub-x86_64 runs on the bare machine only; build it for a target without operating system");
}
