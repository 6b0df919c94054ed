//! What the guests of this package share: an end is chosen by the first word of the command line.

#![no_std]

extern crate alloc;

use alloc::string::String;
use core::fmt;

use ebbtide::env;

/// The `number`-th word after the name of the guest; empty if there is none.
pub fn word(number: usize) -> String {
    env::args().nth(number).unwrap_or_default()
}

/// A message that cannot be formatted.
#[derive(Debug)]
pub struct PanicsItself;

impl fmt::Display for PanicsItself {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while the message was formatted")
    }
}
