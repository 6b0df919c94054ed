//! Ways in which a run ends, and what tests look at in a guest of their own: the first word of the command line names a module, the
//! words after that are its own.
//!
//! One image for all of them: a kernel is linked for each, under every policy.

#![no_std]
#![no_main]

extern crate alloc;

mod accessed;
mod audits;
mod chains;
mod cpus;
mod entries;
mod exits;
mod faults;
mod grows;
mod memory_ends;
mod overflows;
mod panics;
mod stuck;
mod survives;
mod switches;
mod trap_ends;

use alloc::string::String;
use core::fmt;

use ebbtide::env;
use ebbtide::process::ExitCode;

ebbtide::main!(main);

fn main() -> Result<ExitCode, String> {
    let part = env::args().nth(1).unwrap_or_default();
    match &*part {
        "accessed" => accessed::main(),
        "audits" => audits::main(),
        "chains" => chains::main(),
        "cpus" => cpus::main(),
        "entries" => entries::main(),
        "exits" => return exits::main(),
        "faults" => faults::main(),
        "grows" => grows::main(),
        "memory-ends" => memory_ends::main(),
        "overflows" => overflows::main(),
        "panics" => panics::main(),
        "stuck" => stuck::main(),
        "survives" => survives::main(),
        "switches" => switches::main(),
        "trap-ends" => trap_ends::main(),
        _ => Err(part),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The `number`-th word after the one that names the module; empty if there is none.
fn word(number: usize) -> String {
    env::args().nth(number + 1).unwrap_or_default()
}

/// A message that cannot be formatted.
#[derive(Debug)]
struct PanicsItself;

impl fmt::Display for PanicsItself {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while the message was formatted")
    }
}
