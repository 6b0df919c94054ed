//! Counts the instructions of system calls, and the memory of the kernel stacks of threads in user mode: both sides of the argument
//! about growing stacks at the entry from user mode.
//!
//! A call is counted as the difference of two runs of one thread, which differ in nothing but how often it calls: so the loop is
//! in it, and the thread's beginning and end are not.

#![no_std]
#![no_main]

extern crate alloc;

mod memory;

use alloc::string::String;

use ebbtide::stack::{self, Counters};
use ebbtide::thread::{self, Builder, CpuSet, Priority};
use ebbtide::time::counter;
use ebbtide::{println, process, user};
use ebbtide_figures::{Mean, settle_clock, word};

ebbtide::main!(main);

/// Preemptions in user mode that are counted, about.
const PREEMPTIONS: u64 = 16;

/// A time slice, in nanoseconds.
const SLICE_NS: u64 = 10_000_000;

fn main() -> Result<(), String> {
    let rounds = word("rounds")? as u64;
    let threads = word("threads")?;
    // Above the threads that spin: it has the CPU when it wants it. With the default stack: the main thread's is larger.
    let above = Builder::new().priority(Priority::MAX).spawn(move || record(rounds, threads));
    above.map_err(|error| alloc::format!("{error}"))?.join().expect("a panic ends the run")
}

fn record(rounds: u64, threads: usize) -> Result<(), String> {
    settle_clock();
    // What is counted in instructions is one CPU's, however many there are; stacks are those of threads on all of them.
    if thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        bind_to(CpuSet::only(thread::current_cpu()))?;
    }
    // Until the heap and the stacks that are kept have what such threads need.
    part(null_calls, rounds / 10);
    part(sleeping_calls, rounds / 100);
    let nothing = Part::between(part(null_calls, rounds), part(null_calls, 2 * rounds), rounds);
    let sleeping = rounds / 10;
    let sleeps = Part::between(part(sleeping_calls, sleeping), part(sleeping_calls, 2 * sleeping), 2 * sleeping);
    let preempt = preemptions();
    bind_to(CpuSet::ALL)?;
    let [asleep, mixed, spinning] = memory::stacks(threads)?;
    println!(
        "ebbtide: record workload=system-calls threads={threads} syscall_insns={} syscall_sleep_insns={} user_preempt_insns={preempt} \
         pte_writes_per_call={} tlb_local_per_call={} tlb_broadcast_per_call={} \
         sleep_pte_writes_per_call={} sleep_tlb_broadcast_per_call={} \
         asleep_stack_kib={} mixed_stack_kib={} spinning_stack_kib={}",
        nothing.insns,
        sleeps.insns,
        nothing.pte_writes,
        nothing.tlb_local,
        nothing.tlb_broadcast,
        sleeps.pte_writes,
        sleeps.tlb_broadcast,
        4 * asleep,
        4 * mixed,
        4 * spinning,
    );
    // Not by way of the main thread: it would have its turn when every thread that spins has had one.
    process::exit(0)
}

/// Binds this thread, and those that it spawns from now on.
fn bind_to(cpus: CpuSet) -> Result<(), String> {
    thread::set_affinity(cpus).map_err(|error| alloc::format!("binding: {error}"))
}

/// What a run came to.
#[derive(Clone, Copy, Default)]
struct Run {
    insns: u64,
    counters: Counters,
}

/// Runs a thread in user mode, from its spawn to its join.
fn part(function: fn(u64) -> u64, argument: u64) -> Run {
    let (before, start) = (stack::counters(), counter());
    let done = user::spawn(function, argument).join();
    let insns = counter() - start;
    assert_eq!(done, Ok(argument), "calls that were made");
    let counters = difference(&before, &stack::counters());
    Run { insns, counters }
}

fn difference(before: &Counters, after: &Counters) -> Counters {
    let mut counters = *after;
    counters.cache.switches -= before.cache.switches;
    counters.cache.pte_writes -= before.cache.pte_writes;
    counters.cache.tlb_broadcast -= before.cache.tlb_broadcast;
    counters.tlb_local -= before.tlb_local;
    counters
}

/// Means, of what one call takes.
struct Part {
    insns: Mean,
    pte_writes: Mean,
    tlb_local: Mean,
    tlb_broadcast: Mean,
}

impl Part {
    /// What `calls` calls took that the second run made and the first did not.
    fn between(few: Run, many: Run, calls: u64) -> Self {
        let counters = difference(&few.counters, &many.counters);
        Self {
            insns: Mean::new(many.insns - few.insns, calls),
            pte_writes: Mean::new(counters.cache.pte_writes, calls),
            tlb_local: Mean::new(counters.tlb_local, calls),
            tlb_broadcast: Mean::new(counters.cache.tlb_broadcast, calls),
        }
    }
}

/// Makes so many calls that do nothing.
fn null_calls(calls: u64) -> u64 {
    for _ in 0..calls {
        user::null_call();
    }
    calls
}

/// Two threads wake each other in turn, so often each: each turn is a call that wakes and one that sleeps.
fn sleeping_calls(rounds: u64) -> u64 {
    let Ok(partner) = user::spawn_child(partner, [user::id(), rounds]) else { return 0 };
    let Ok(id) = partner.id() else { return 0 };
    for _ in 0..rounds {
        let _ = user::unpark(id);
        user::park(None);
    }
    partner.join().unwrap_or(0)
}

fn partner([other, rounds]: [u64; 2]) -> u64 {
    for _ in 0..rounds {
        user::park(None);
        let _ = user::unpark(other);
    }
    rounds
}

/// What a preemption in user mode takes, from the interrupted instruction to the other thread's next: two threads that spin one
/// after the other and the same two at the same time, for about as many time slices as are counted.
fn preemptions() -> Mean {
    // About three instructions each, and as many nanoseconds.
    const TURNS: u64 = PREEMPTIONS * SLICE_NS / 2 / 3;
    let run = |together: bool| {
        let (before, start) = (stack::counters(), counter());
        let first = user::spawn(spin, TURNS);
        let [first, second] = if together {
            let second = user::spawn(spin, TURNS);
            [first.join(), second.join()]
        } else {
            [first.join(), user::spawn(spin, TURNS).join()]
        };
        assert_eq!([first, second], [Ok(TURNS), Ok(TURNS)], "turns that were made");
        (counter() - start, stack::counters().cache.switches - before.cache.switches)
    };
    let alone = run(false);
    let together = run(true);
    Mean::new(together.0.saturating_sub(alone.0), together.1.saturating_sub(alone.1).max(1))
}

/// Takes so many turns of a loop.
fn spin(turns: u64) -> u64 {
    for turn in 0..turns {
        core::hint::black_box(turn);
    }
    turns
}
