//! The tests that every stack policy runs: threads, scheduling, locks, time, memory, stacks.
//!
//! Prints a line for each test and a total, and ends with 0 or 1. Words of the command line choose tests by a part of
//! their name; `key=value` words are not names: `icount=yes` says that the clock counts instructions, so that the
//! tests of time may be strict.

#![no_std]

extern crate alloc;

#[macro_use]
mod harness;

mod asking;
mod channels;
mod cpus;
mod depth;
mod float;
mod gates;
mod locals;
mod locks;
mod machine;
mod memory;
mod parking;
mod registers;
mod reports;
mod rwlocks;
mod sandbox;
mod schedule;
mod scopes;
mod stacks;
mod stale;
mod sweeps;
mod temporary;
mod threads;
mod time;
mod timed;
mod timeouts;
mod user;
mod waiting;

use ebbtide::process::ExitCode;

/// Runs the tests, all or those that the command line chooses.
pub fn run() -> ExitCode {
    harness::run(&[
        threads::TESTS,
        scopes::TESTS,
        asking::TESTS,
        temporary::TESTS,
        locals::TESTS,
        schedule::TESTS,
        parking::TESTS,
        waiting::TESTS,
        locks::TESTS,
        rwlocks::TESTS,
        gates::TESTS,
        channels::TESTS,
        timeouts::TESTS,
        timed::TESTS,
        time::TESTS,
        memory::TESTS,
        stacks::TESTS,
        stale::TESTS,
        sweeps::TESTS,
        cpus::TESTS,
        depth::TESTS,
        reports::TESTS,
        registers::TESTS,
        user::TESTS,
        float::TESTS,
        sandbox::TESTS,
        machine::TESTS,
    ])
}
