//! Panics: in the main thread, in a named one and a nameless one, in the report itself, and where the kernel is in the
//! middle of something.

use alloc::string::String;
use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::sync::Mutex;
use ebbtide::thread::{self, Builder};
use ebbtide::{print, println, process, provoke, stack};

use crate::{PanicsItself, word};

pub fn main() -> Result<(), String> {
    match &*word(1) {
        "main" => fail(black_box(7)),
        "thread" => {
            let worker = Builder::new().name("worker".into()).spawn(|| fail(black_box(8)));
            worker.expect("there is memory").join().unwrap();
        }
        "nameless" => thread::spawn(|| fail(black_box(9))).join().unwrap(),
        "temporary-stack" => borrower(),
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
        "console-locked" => provoke::with_console_locked(|| fail(black_box(11))),
        "interrupts-off" => provoke::with_interrupts_off(|| fail(black_box(12))),
        "in-a-switch" => provoke::in_switch_to_idle(fail_for_good),
        other => return Err(other.into()),
    }
    Ok(())
}

/// Panics on a temporary stack of a temporary stack.
#[inline(never)]
fn borrower() {
    stack::call_with(1 << 20, || stack::call_with(8 << 10, || fail(black_box(13))))
        .expect("there is memory")
        .expect("likewise");
}

/// A thread that would go on, and end the run well, if the panicking one let it.
fn bystander() {
    thread::spawn(|| {
        while !PANICKING.load(Ordering::Acquire) {
            thread::yield_now();
        }
        println!("went on");
        process::exit(0);
    });
}

/// Set once a message is formatted: what runs before that may do as it likes.
static PANICKING: AtomicBool = AtomicBool::new(false);

static LOCK: Mutex<()> = Mutex::new(());

/// A message that waits for a lock which the panicking thread holds.
struct Locks;

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PANICKING.store(true, Ordering::Release);
        let _held = LOCK.lock();
        f.write_str("after the lock")
    }
}

/// A message that gives way.
struct Yields;

impl fmt::Display for Yields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PANICKING.store(true, Ordering::Release);
        thread::yield_now();
        f.write_str("after a yield")
    }
}

/// In a function of its own, for the backtrace.
#[inline(never)]
fn fail(value: u32) {
    assert_eq!(value, 0, "a value that should be none");
}

fn fail_for_good() -> ! {
    fail(black_box(13));
    process::exit(0)
}
