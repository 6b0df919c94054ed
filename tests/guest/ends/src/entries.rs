//! How much of its kernel stack a thread of user mode uses before an entry has populated the rest: `few` threads, with refills; or
//! `many`, which are parked until others give frames back.
//!
//! Who is parked gives up what it has below its stack pointer, whole pages: where more than one is kept (with debug assertions), many
//! threads would measure that.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use ebbtide::user::{self, Error};
use ebbtide::{println, provoke, stack, thread};

use crate::word;

/// Threads that there are frames for.
const FEW: usize = 48;

/// Rounds of each thread.
const ROUNDS: u64 = 8;

/// Bytes of stack that each has in user mode: the less, the more threads there are.
const USER_STACK_BYTES: usize = 4 << 10;

/// Calls of every length: that do nothing, that give way, that sleep, and that fail.
fn calls(number: u64) -> u64 {
    // Who has such registers takes a step more on the way in.
    if number.is_multiple_of(2) {
        provoke::touch_float_register();
    }
    for round in 0..ROUNDS {
        user::null_call();
        user::yield_now();
        user::sleep(Duration::from_micros((number * 37 + round * 11) % 200));
        if user::raw_call(u64::MAX, [round; 5]) != Err(Error::UnknownCall) {
            return 0;
        }
        // Long enough, all together, for time slices to end here.
        for turn in 0..2_000 {
            core::hint::black_box(turn);
        }
    }
    number
}

pub fn main() -> Result<(), String> {
    // Above them, so that all are there before they have done much.
    let above = thread::Builder::new().priority(thread::Priority::MAX).spawn(measure);
    let measured = above.map_err(|error| format!("{error}"))?.join();
    measured.map_err(|_| String::from("a panic"))?
}

/// Has threads make calls: a few, or as many as there is memory for, of which all in the kernel at the same time are too many.
fn measure() -> Result<(), String> {
    let (most, are_parked) = match &*word(1) {
        "few" => (FEW, false),
        "many" => (usize::MAX, true),
        other => return Err(other.into()),
    };
    let spawn = |number| user::Builder::new().user_stack_size(USER_STACK_BYTES).spawn(calls, number).ok();
    let threads: Vec<_> = (1..).map_while(|number| Some((number, spawn(number)?))).take(most).collect();
    for (number, thread) in threads {
        match thread.join() {
            Ok(same) if same == number => {}
            other => return Err(format!("thread {number} returned {other:?}")),
        }
    }
    let (used, allowed) = provoke::stack_used_at_entries().ok_or("no entry was measured")?;
    println!("entries from user mode used {used} of {allowed} bytes");
    let counters = stack::counters().cache;
    if counters.refills == 0 || are_parked != (counters.parked > 0) {
        return Err(format!("{} refills, and {} threads were parked", counters.refills, counters.parked));
    }
    if used > allowed { Err(format!("{used} bytes were used, and {allowed} are there")) } else { Ok(()) }
}
