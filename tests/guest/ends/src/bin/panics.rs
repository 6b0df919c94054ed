//! Panics: in the main thread, in a named one and a nameless one, in the report itself.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::fmt;
use core::hint::black_box;

use ebbtide::sync::Mutex;
use ebbtide::thread::{self, Builder};
use ebbtide::{print, println, process};
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
        "message-that-waits" => {
            bystander();
            let _held = LOCK.lock();
            panic!("{}", Locks);
        }
        "message-that-yields" => {
            bystander();
            panic!("{}", Yields);
        }
        other => return Err(other.into()),
    }
    Ok(())
}

/// A thread that would go on, and end the run well, if the panicking one let it.
fn bystander() {
    thread::spawn(|| {
        println!("went on");
        process::exit(0);
    });
}

static LOCK: Mutex<()> = Mutex::new(());

/// A message that waits for a lock which the panicking thread holds.
struct Locks;

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _held = LOCK.lock();
        f.write_str("after the lock")
    }
}

/// A message that gives way.
struct Yields;

impl fmt::Display for Yields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        thread::yield_now();
        f.write_str("after a yield")
    }
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
