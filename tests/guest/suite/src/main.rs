//! The tests that every stack policy runs: threads, scheduling, locks, time, memory, stacks.
//!
//! Prints a line for each test and a total, and ends with 0 or 1. Words of the command line choose tests by a part of
//! their name; `key=value` words are not names: `icount=yes` says that the clock counts instructions, so that the
//! tests of time may be strict.

#![no_std]
#![no_main]

extern crate alloc;

#[macro_use]
mod harness;

mod depth;
mod locks;
mod machine;
mod memory;
mod parking;
mod registers;
mod schedule;
mod stacks;
mod threads;
mod time;

use ebbtide::process::ExitCode;

ebbtide::main!(main);

fn main() -> ExitCode {
    harness::run(&[
        threads::TESTS,
        schedule::TESTS,
        parking::TESTS,
        locks::TESTS,
        time::TESTS,
        memory::TESTS,
        stacks::TESTS,
        depth::TESTS,
        registers::TESTS,
        machine::TESTS,
    ])
}
