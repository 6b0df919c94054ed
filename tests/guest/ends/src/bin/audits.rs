//! What an `audit` build finds: `lost-frame`, `twice-free`; `nothing` is broken, and it ends well.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;

use ebbtide::time::Duration;
use ebbtide::{provoke, stack, thread};
use ebbtide_ends::word;

ebbtide::main!(main);

fn main() -> Result<(), String> {
    match &*word(1) {
        "lost-frame" => provoke::lose_frame(),
        "twice-free" => provoke::free_frame_twice(),
        "nothing" => {}
        other => return Err(other.into()),
    }
    // The CPU goes idle once (a busy host may take it away for longer than a sleep), and there are switches enough for the
    // whole machine to be looked at twice.
    let before = stack::counters().idle_passes;
    while stack::counters().idle_passes == before {
        thread::sleep(Duration::from_millis(10));
    }
    let other = thread::spawn(give_way);
    give_way();
    other.join().unwrap();
    Ok(())
}

fn give_way() {
    for _ in 0..2 * 4096 {
        thread::yield_now();
    }
}
