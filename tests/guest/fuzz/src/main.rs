//! Random system calls: numbers, arguments, all other registers, stack pointers, from threads of user mode that come and go, while
//! bystanders look whether anything of theirs changes. `seed=N calls=N`.
//!
//! What a thread draws follows from its seed; what comes of it, from what the others do meanwhile. It ends well if all
//! the calls were made, each at least once, with each error at least once, a good part of them with success; if no register was
//! lost and no bystander is corrupt; and if every frame and every thread is back in the end.

#![no_std]
#![no_main]

extern crate alloc;

mod bystanders;
mod caller;
mod child;
mod places;
mod plan;
mod tally;
mod worker;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use ebbtide::time::Duration;
use ebbtide::user::{self, Call, JoinHandle};
use ebbtide::{println, stack, thread};
use ebbtide_figures::word;

use crate::bystanders::Bystanders;
use crate::plan::Plan;
use crate::tally::{NUMBERS, Other, Sum};

ebbtide::main!(main);

/// Threads that make calls at the same time, beside those that they spawn.
const WORKERS: usize = 6;

/// Calls that one makes before another takes its place.
const CALLS_EACH: u64 = 10_000;

/// The least share of calls that must succeed, in per cent.
const LEAST_SUCCESS: u64 = 30;

/// Threads that take all the memory: each gets less than 16 MiB.
const MOST_TAKERS: usize = 8;

/// Threads that sleep meanwhile.
const SLEEPERS: usize = 64;

/// Frames that the kernel's heap can grow by, whatever user mode has taken.
const LEAST_ROOM: usize = 32;

/// Words of what is allocated then, and how often at most: more than the heap may have free.
const PART: usize = 500;
const MOST_KEPT: usize = 4096;

/// In `.data`: a part of the kernel that is written.
static WRITTEN: AtomicU64 = AtomicU64::new(CANARY);

const CANARY: u64 = 0xcafe_f00d_5eed_ba11;

fn main() -> Result<(), String> {
    let (seed, calls) = (word("seed")? as u64, word("calls")? as u64);
    let cpus = thread::available_parallelism().map_or(1, |number| number.get());
    // Another one under each policy.
    let seed = stack::POLICY.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    println!("fuzz: seed {seed}, {calls} calls, {cpus} CPUs, {}", stack::POLICY);
    let kept = Box::new(CANARY);
    let local = CANARY;
    let kernel = [(&raw const *kept).addr(), (&raw const local).addr(), (&raw const WRITTEN).addr()];
    let bystanders = Bystanders::start()?;
    let sum = fuzz(seed, calls, kernel.map(|address| address as u64), &bystanders)?;
    let seen = bystanders.end();
    sum.table().for_each(|line| println!("fuzz: {line}"));
    let (made, succeeded) = (sum.calls(), sum.succeeded());
    println!("fuzz: {made} calls, {succeeded} succeeded ({} %)", 100 * succeeded / made.max(1));
    println!("fuzz: {} threads were spawned by others", sum.other(Other::Spawned));
    println!("fuzz: {}", seen?);
    check(
        *kept == CANARY && local == CANARY && WRITTEN.load(Ordering::Relaxed) == CANARY,
        "the kernel's data changed",
    )?;
    check(sum.other(Other::Register) == 0, "a call changed a register that it must not")?;
    check(sum.other(Other::Answer) == 0, "a call gave an answer that there is not")?;
    check(100 * succeeded >= LEAST_SUCCESS * made, "too few calls succeeded")?;
    if let Some(call) = sum.never_made() {
        return Err(format!("{call} was never called"));
    }
    if let Some(result) = sum.never_returned() {
        return Err(format!("nothing came to {result}"));
    }
    conserved()?;
    println!("fuzz: every frame and every thread is back");
    leave_room()?;
    println!("fuzz: the kernel's heap grows when user mode has all the memory that it gets");
    sleep_for_ever()
}

fn check(condition: bool, otherwise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}

/// Has workers make calls until there are so many.
fn fuzz(seed: u64, calls: u64, kernel: [u64; 3], bystanders: &Bystanders) -> Result<Sum, String> {
    let mut sum = Sum::new();
    let mut workers: VecDeque<JoinHandle<[u32; NUMBERS]>> = VecDeque::with_capacity(WORKERS);
    let mut number = 0;
    while sum.calls() < calls || !workers.is_empty() {
        let is_enough = sum.calls() + workers.len() as u64 * CALLS_EACH >= calls;
        if workers.len() < WORKERS && !is_enough {
            let plan = Plan::new(seed, number, CALLS_EACH, kernel, bystanders.ids());
            // There may be no memory for a moment.
            if let Ok(worker) = user::Builder::new().spawn(worker::work, plan) {
                workers.push_back(worker);
                number += 1;
                continue;
            }
        }
        match workers.pop_front() {
            Some(worker) => sum.add(&worker.join().map_err(|ended| format!("a worker ended: {ended}"))?),
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(sum)
}

/// Checks that every frame is accounted for, and that nothing of user mode is left.
fn conserved() -> Result<(), String> {
    stack::settle();
    let (frames, sample) = (stack::frames(), stack::sample());
    let known = frames.counts.free + frames.heap + frames.user + frames.tables + sample.range;
    if known != frames.counts.total || frames.user != 0 || sample.threads != 0 {
        return Err(format!("something is lost or left over: {frames:?}, {sample:?}"));
    }
    Ok(())
}

/// Has threads of user mode take all the memory that they get: the kernel has room for what it does for them.
fn leave_room() -> Result<(), String> {
    fn take_and_wait(_: ()) {
        for bytes in [1 << 20, 64 << 10, 4 << 10] {
            let mut is_more = true;
            while is_more {
                is_more = user::raw_call(Call::Memory as u64, [bytes, 0, 0, 0, 0]).is_ok();
            }
        }
        user::park(None);
    }
    let mut threads = Vec::with_capacity(SLEEPERS + MOST_TAKERS);
    // Each may come to need more frames for its stack than it has.
    for _ in 0..SLEEPERS {
        threads.extend(user::Builder::new().spawn(|()| user::park(None), ()).ok());
    }
    stack::settle();
    let mut kept = Vec::with_capacity(MOST_KEPT);
    for _ in 0..MOST_TAKERS {
        threads.extend(user::Builder::new().spawn(take_and_wait, ()).ok());
    }
    // Until they all sleep.
    stack::settle();
    // What the heap has is not what is asked for.
    let before = stack::frames().heap;
    let mut has_room = true;
    while has_room && stack::frames().heap < before + LEAST_ROOM && kept.len() < MOST_KEPT {
        let mut part = Vec::<u64>::new();
        has_room = part.try_reserve_exact(PART).is_ok();
        kept.push(part);
    }
    drop(kept);
    for thread in threads {
        thread.thread().unpark();
        thread.join().map_err(|ended| format!("one that took memory: {ended}"))?;
    }
    check(has_room, "user mode left the kernel no room")?;
    conserved()
}

/// Has threads sleep until the end of time and beyond: nothing else comes of it.
fn sleep_for_ever() -> Result<(), String> {
    let sleep = |nanoseconds: u64| {
        let _ = user::raw_call(Call::Sleep as u64, [nanoseconds, 0, 0, 0, 0]);
    };
    let times = [u64::MAX, u64::MAX - 1, u64::MAX >> 1, 1 << 63, 1 << 62];
    let sleepers = times.map(|nanoseconds| user::spawn(sleep, nanoseconds));
    thread::sleep(Duration::from_millis(5));
    check(sleepers.iter().all(|sleeper| !sleeper.is_finished()), "the end of time has come")?;
    println!("fuzz: {} threads sleep for ever", sleepers.len());
    Ok(())
}
