//! Stacks that grow from faults, while other CPUs and the timer interrupt: what faults find and leave, and that nothing is lost.
#![expect(unsafe_code, reason = "writes below its stack pointer")]

use alloc::format;
use alloc::string::String;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ebbtide::thread::{self, Builder, CpuSet};
use ebbtide::time::Duration;
use ebbtide::{println, provoke, stack};

use crate::word;

const PAGE: usize = 4096;

/// The largest stack that a policy is asked about.
const STACK_BYTES: usize = 64 << 10;

/// Bytes around the border of a page at which it is first touched.
const AROUND: usize = 64;

/// Pages of a gap that one fault skips.
const GAP: usize = 3;

/// Calls that were answered by the other thread, which each of them wakes.
static ANSWERS: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);
static NAPS: AtomicU64 = AtomicU64::new(0);

pub fn main() -> Result<(), String> {
    match &*word(1) {
        "interrupted" => interrupted(),
        "locked" => locked(),
        "stray" => stray(),
        other => Err(other.into()),
    }
}

fn here() -> usize {
    let here = 0_u8;
    (&raw const *black_box(&here)).addr()
}

/// Writes a word to the running thread's stack, at any address.
#[inline(never)]
fn touch(address: usize) {
    let pointer = core::ptr::with_exposed_provenance_mut::<u64>(black_box(address));
    // SAFETY: below all that is in use, on this stack or on none; what a preemption pushes there lies above.
    unsafe { pointer.write_unaligned(black_box(1)) };
}

/// The stack of the running thread begins with its top page; goes down from there, touching each page first at another offset
/// from its border, and each time the word there as well as what is skipped. Returns how many pages were populated.
fn around_borders(offset: usize) -> usize {
    let top = here().next_multiple_of(2 * STACK_BYTES);
    let mut pages = 1;
    // The first of them is a page of which a preemption here may be in need.
    for border in [2, 3, 4, 4 + GAP, 4 + 2 * GAP].map(|page| top - page * PAGE) {
        touch(border + AROUND - offset);
        pages = pages.max((top - (border + AROUND - offset)).div_ceil(PAGE));
    }
    pages
}

fn interrupted() -> Result<(), String> {
    let cpu = |number| Builder::new().affinity(CpuSet::only(number)).map_err(|error| format!("{error}"));
    // Called by the other CPU, which waits for the answer: one that is lost stops the run.
    let called = cpu(0)?.priority(thread::Priority::MAX).spawn(|| {
        while !ENOUGH.load(Ordering::Acquire) {
            thread::park();
            ANSWERS.store(CALLS.load(Ordering::Acquire), Ordering::Release);
        }
    });
    let called = called.map_err(|error| format!("{error}"))?;
    let answering = called.thread().clone();
    let calling = cpu(1)?.spawn(move || {
        while !ENOUGH.load(Ordering::Acquire) {
            let call = CALLS.fetch_add(1, Ordering::AcqRel) + 1;
            answering.unpark();
            while ANSWERS.load(Ordering::Acquire) < call && !ENOUGH.load(Ordering::Acquire) {
                spin_loop();
            }
        }
        answering.unpark();
    });
    let calling = calling.map_err(|error| format!("{error}"))?;
    let napping = cpu(0)?.priority(thread::Priority::MAX).spawn(|| {
        while !ENOUGH.load(Ordering::Acquire) {
            thread::sleep(Duration::from_micros(50));
            NAPS.fetch_add(1, Ordering::Relaxed);
        }
    });
    let napping = napping.map_err(|error| format!("{error}"))?;
    let mut threads = alloc::vec::Vec::new();
    let before = stack::counters();
    let mut result = Ok(());
    for offset in 0..2 * AROUND {
        let calls = ANSWERS.load(Ordering::Acquire);
        // They all stay: a stack that is used again has its pages.
        let grown = cpu(0)?.stack_size(STACK_BYTES).spawn(move || {
            let pages = around_borders(offset);
            thread::park();
            pages
        });
        threads.push(grown.map_err(|error| format!("{error}"))?);
        // One call at least for each of them.
        while ANSWERS.load(Ordering::Acquire) == calls {
            thread::yield_now();
        }
    }
    stack_is_without_holes(&mut result, threads.len());
    ENOUGH.store(true, Ordering::Release);
    let mut pages = 0;
    for thread in threads {
        thread.thread().unpark();
        pages += thread.join().map_err(|_| String::from("a panic"))?;
    }
    calling.join().and(called.join()).and(napping.join()).map_err(|_| String::from("a panic"))?;
    let after = stack::counters();
    let (faults, grown) = (after.growth_faults - before.growth_faults, after.pages_grown - before.pages_grown);
    println!(
        "{pages} pages, {faults} faults for {grown} of them, {} calls, {} naps",
        CALLS.load(Ordering::Relaxed),
        NAPS.load(Ordering::Relaxed)
    );
    if faults == 0 || grown <= faults || after.stack_faults != 0 {
        return Err(format!("{faults} faults for {grown} pages, and {} that populated nothing", after.stack_faults));
    }
    result
}

/// Each of the threads has what it touched, and what lies above: the walk counts present pages, and a build that checks itself
/// ends where one of them lies below an absent one.
fn stack_is_without_holes(result: &mut Result<(), String>, threads: usize) {
    let least = threads * (4 + 2 * GAP - 1);
    let found = stack::sample().stack;
    if found < least {
        *result = Err(format!("{threads} threads have {found} pages, of at least {least}"));
    }
}

/// Faults while locks are held, and with interrupts off.
fn locked() -> Result<(), String> {
    let deep = |bytes: usize| touch(here() - bytes);
    let work = move || {
        provoke::with_console_locked(|| deep(PAGE));
        provoke::with_interrupts_off(|| deep(5 * PAGE));
        deep(9 * PAGE);
    };
    let before = stack::counters().growth_faults;
    Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| format!("{error}"))?
        .join()
        .map_err(|_| "a panic")?;
    let faults = stack::counters().growth_faults - before;
    println!("{faults} faults populated pages");
    if faults < 3 { Err(format!("{faults} faults, not 3 at least")) } else { Ok(()) }
}

/// A stray access to an absent page of a stack that is not the running thread's: no growth.
fn stray() -> Result<(), String> {
    static SLEEPER: AtomicU64 = AtomicU64::new(0);
    let sleeper = Builder::new().stack_size(STACK_BYTES).spawn(|| {
        SLEEPER.store(here().next_multiple_of(2 * STACK_BYTES) as u64, Ordering::Release);
        thread::park();
    });
    let _sleeper = sleeper.map_err(|error| format!("{error}"))?;
    while SLEEPER.load(Ordering::Acquire) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    touch(SLEEPER.load(Ordering::Acquire) as usize - 10 * PAGE);
    Err("it came back".into())
}
