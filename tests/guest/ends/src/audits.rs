//! What an `audit` build finds: `lost-frame`, `twice-free`; `nothing` is broken, and it ends well.

use alloc::format;
use alloc::string::String;

use ebbtide::thread::CpuSet;
use ebbtide::{provoke, stack, thread};

use crate::word;

pub fn main() -> Result<(), String> {
    match &*word(1) {
        "lost-frame" => provoke::lose_frame(),
        "twice-free" => provoke::free_frame_twice(),
        "nothing" => {}
        other => return Err(other.into()),
    }
    // All CPUs are idle at the same time, often: one that the host has stopped may not come to be looked at.
    for _ in 0..20 {
        stack::settle();
    }
    // And on one of them there are switches enough for the whole machine to be looked at twice.
    thread::set_affinity(CpuSet::only(0)).map_err(|error| format!("{error}"))?;
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
