//! What the guests of this package share: an end is chosen by the first word of the command line.

#![no_std]

extern crate alloc;

use alloc::string::String;

use ebbtide::env;

/// The `number`-th word after the name of the guest; empty if there is none.
pub fn word(number: usize) -> String {
    env::args().nth(number).unwrap_or_default()
}
