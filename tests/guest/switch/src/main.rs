//! Counts the instructions of a switch: by yielding, by waking, by preemption; and what it does to page tables, TLB and
//! stack cache. With several CPUs these switches are all made on one of them, and what follows is what wake-ups and moves across
//! CPUs do.
//!
//! All of it with `others` threads asleep and the timer armed, between threads with the default stack: the main thread's
//! is larger, and waits. Every part has run warm before it is counted, and ends only after the count, so that each
//! yield and each wake-up in it is a switch; that is checked.
//!
//! In an image with the feature `audit` the same is run for one figure alone: the longest stretch without interrupts.
//! Nothing else is reported from there, since users get the other image.

#![no_std]
#![no_main]

extern crate alloc;

mod across;
mod fault;
mod pair;
mod part;
mod preempt;

use alloc::format;
use alloc::string::String;

use ebbtide::{println, stack, thread};
use ebbtide_figures::{put_to_sleep, settle_clock, word};

ebbtide::main!(main);

fn main() -> Result<(), String> {
    let rounds = word("rounds")? as u64;
    let others = word("others")?;
    let preemptions = word("preemptions")?;
    let several = thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    let moves = several.then(|| word("moves")).transpose()?;
    settle_clock();
    put_to_sleep(others)?;
    // Boot is not meant.
    stack::irq_off_max();
    // Whom it spawns stays there as well.
    let builder = if several { across::on(0) } else { thread::Builder::new() };
    let body = move || record(rounds, others, preemptions, moves);
    builder.spawn(body).map_err(|error| format!("{error}"))?.join().expect("a panic ends the run");
    Ok(())
}

/// Makes the measurements and prints their record. Without preemptions there is none: `tests/count-switch.sh` counts the
/// yields alone. With `moves` there are several CPUs.
fn record(rounds: u64, others: usize, preemptions: usize, moves: Option<usize>) {
    if moves.is_some() {
        // The main thread, which waits for this one, may have been on another CPU, which goes idle only now.
        stack::settle();
    }
    let yields = pair::yields(rounds, 0);
    println!("yields: {} instructions in {} switches", yields.insns, yields.switches());
    if preemptions == 0 {
        return;
    }
    let wakes = pair::wakes(rounds);
    let preempt = preempt::preemptions(preemptions);
    let crowded = pair::yields(rounds, others);
    if let Some(ticks) = stack::irq_off_max() {
        println!("ebbtide: record workload=switch irq_off_max_insns={ticks}");
        return;
    }
    let cache = crowded.after.cache;
    let more = match moves {
        Some(moves) => format!(" {}", across::keys(rounds, moves as u64)),
        None if stack::GROWS_ON_FAULT => fault::keys(),
        None => String::new(),
    };
    println!(
        "ebbtide: record workload=switch yield_insns={} yield_crowded_insns={} wake_insns={} preempt_insns={preempt} \
         {} {} {} cache_hits={} cache_misses={} refills={} refills_failed={} frames_pumped={} parked={} pages_reclaimed={}{more}",
        yields.insns_per_switch(),
        crowded.insns_per_switch(),
        wakes.insns_per_switch(),
        yields.writes_per_switch(""),
        crowded.writes_per_switch("crowded_"),
        wakes.writes_per_switch("wake_"),
        cache.hits,
        cache.misses,
        cache.refills,
        cache.refills_failed,
        cache.frames_pumped,
        cache.parked,
        cache.pages_rested,
    );
}
