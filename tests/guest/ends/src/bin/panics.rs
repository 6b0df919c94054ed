//! Panics: in the main thread, in a named one and a nameless one, in the report itself.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::fmt;
use core::hint::black_box;

use ebbtide::print;
use ebbtide::thread::{self, Builder};
use ebbtide_ends::word;

ebbtide::main!(main);

fn main() -> Result<(), String> {
    match &*word(1) {
        "main" => fail(black_box(7)),
        "thread" => {
            let worker = Builder::new().name("worker".into()).spawn(|| fail(black_box(8)));
            worker.expect("there is memory").join().unwrap();
        }
        "nameless" => thread::spawn(|| fail(black_box(9))).join().unwrap(),
        "unfinished-line" => {
            print!("no end of line");
            fail(black_box(10));
        }
        "index" => {
            let array = black_box([1, 2, 3]);
            print!("{}", array[black_box(3)]);
        }
        "message" => panic!("{}", PanicsItself),
        other => return Err(other.into()),
    }
    Ok(())
}

/// In a function of its own, for the backtrace.
#[inline(never)]
fn fail(value: u32) {
    assert_eq!(value, 0, "a value that should be none");
}

/// A message that cannot be formatted.
struct PanicsItself;

impl fmt::Display for PanicsItself {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("while the message was formatted")
    }
}
