//! Deep sleepers: threads that wait with little on their stacks, go deep, and sleep there, each for its own time; and some that live in
//! user mode, and sleep in system calls.
//!
//! All want to be deep at about the same time. Where stacks are populated when their threads run, there may be no frames for that: then
//! threads are parked until others have slept enough, and all of it takes longer. A thread that looks at memory, at fixed instants of the
//! clock, has a stack that is always populated, so it is never parked.

mod settings;
mod sleepers;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::thread::{self, Builder, Priority};
use ebbtide::time::Instant;
use ebbtide::{println, stack};

use crate::memory::Memory;
use settings::Settings;
use sleepers::Sleepers;

/// How often memory is looked at, at most: points come to be lines.
const MOST_LOOKS: u32 = 2_000;

/// What was seen at an instant.
struct Seen {
    deep: usize,
    memory: Memory,
}

/// Lets them sleep, and prints points and record.
pub fn run(words: &[String]) -> Result<(), String> {
    let settings = Settings::read(words)?;
    let above = Builder::new().priority(Priority::MAX).always_populated().spawn(move || record(&settings));
    above.map_err(|error| format!("{error}"))?.join().map_err(|_| String::from("it panicked"))?
}

fn record(settings: &Settings) -> Result<(), String> {
    // The main thread's stack, which waits for this one: no sleeper's.
    let before = Memory::at_rest(1)?;
    let sleepers = Sleepers::spawn(settings)?;
    let quiet = Memory::at_rest(settings.threads + 1)?.beside(&before);
    let parked = stack::counters().cache.parked;
    let seen = look(settings, &sleepers, &before)?;
    let parked = stack::counters().cache.parked - parked;
    let sleeps = sleepers.sleeps();
    let after = Memory::at_rest(settings.threads + 1)?.beside(&before);
    sleepers.end()?;
    Memory::at_end(1)?;
    for (Seen { deep, memory }, look) in seen.iter().zip(0_u32..) {
        println!("ebbtide: point series=deep at_ms={} deep={deep} {memory}", (settings.every * look).as_millis());
    }
    let most = |kib: fn(&Memory) -> usize| seen.iter().map(|seen| kib(&seen.memory)).max().unwrap_or_default();
    println!(
        "ebbtide: record workload=deep-sleepers deep_threads={} deep_sleeps={sleeps} deep_quiet_kib={} deep_most_kib={} \
         deep_most_oracle_kib={} deep_after_kib={} deep_parked={parked} deep_span_ms={}",
        settings.threads,
        quiet.total(),
        most(Memory::total),
        most(|memory| memory.oracle),
        after.total(),
        (settings.every * (seen.len() as u32 - 1)).as_millis(),
    );
    Ok(())
}

/// Looks at memory until all have slept.
fn look(settings: &Settings, sleepers: &Sleepers, before: &Memory) -> Result<Vec<Seen>, String> {
    // Where it lies is had before memory is scarce.
    let mut seen = Vec::with_capacity(MOST_LOOKS as usize);
    let start = Instant::now();
    sleepers.begin();
    for look in 0..MOST_LOOKS {
        let at = settings.every * look;
        thread::sleep_until(start + at);
        let late = start.elapsed() - at;
        if late >= settings.every {
            return Err(format!("the look at {at:?} came {late:?} late: `every_ms` is too short"));
        }
        let slept = sleepers.slept();
        seen.push(Seen { deep: sleepers.deep(), memory: Memory::now().beside(before) });
        if look > 0 && slept == sleepers.sleeps() {
            return Ok(seen);
        }
    }
    let (slept, sleeps) = (sleepers.slept(), sleepers.sleeps());
    Err(format!("{slept} of {sleeps} sleeps are over after {MOST_LOOKS} looks: `every_ms` is too short"))
}
