//! Overflows with `ebbtide.overflow=survive`: once, twice, asleep on the emergency page, in a slot that is used again, on a temporary
//! stack, near the guard.

use alloc::format;
use alloc::string::String;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide::thread::{self, Builder, CpuSet};
use ebbtide::time::Duration;
use ebbtide::{println, stack};

use crate::word;

/// Stack of the default size, in a slot that is twice as large and aligned to its own size.
const STACK_BYTES: usize = thread::DEFAULT_STACK_BYTES as usize;
const SLOT_BYTES: usize = 2 * STACK_BYTES;

/// Bytes of the emergency page that are used: the thread sleeps in there, and whatever that needs has room below.
const BELOW: usize = 600;

/// Bytes above the guard: too few for a preemption.
const NEAR: usize = 400;

/// Bytes of a page.
const PAGE_BYTES: usize = 4096;

/// How often a slot is used again.
const ROUNDS: usize = 8;

pub fn main() -> Result<(), String> {
    match &*word(1) {
        "sleep" => {
            let canaries = survivor(|| thread::sleep(Duration::from_millis(2)))?;
            println!("all {canaries} records are whole");
        }
        "smallest" => {
            let bytes = 8 << 10;
            let work = move || down(bytes, bytes - BELOW, &|| thread::sleep(Duration::from_millis(2)));
            let canaries = spawn("small", bytes, work)?;
            println!("all {canaries} records are whole");
        }
        "again" => again()?,
        "twice" => {
            spawn("greedy", STACK_BYTES, || down(STACK_BYTES, STACK_BYTES / 2, &|| ()))?;
        }
        "twice-later" => {
            // Back from the first one, it sleeps, and comes again: what it has, it keeps, and no more.
            spawn("greedy", STACK_BYTES, || {
                down(STACK_BYTES, STACK_BYTES - BELOW, &|| ());
                thread::sleep(Duration::from_millis(2));
                down(STACK_BYTES, STACK_BYTES - BELOW, &|| ());
                println!("greedy has been there twice");
                down(STACK_BYTES, STACK_BYTES / 2, &|| ())
            })?;
        }
        "temporary" => {
            let canaries = spawn("borrower", STACK_BYTES, borrower)?;
            println!("all {canaries} records are whole");
        }
        "temporary-twice" => {
            // Once on a temporary stack, and once more on its own.
            spawn("greedy", STACK_BYTES, || {
                borrower();
                println!("greedy has been back");
                down(STACK_BYTES, STACK_BYTES - BELOW, &|| ())
            })?;
        }
        "asked" => {
            // All that there is, and then a page more.
            spawn("asked", STACK_BYTES, || {
                ask_for_all();
                down(STACK_BYTES, BELOW, &|| ())
            })?;
        }
        "asks-later" => {
            // The page that it goes on with is its stack's: more comes below that.
            let canaries = spawn("survivor", STACK_BYTES, || {
                let canaries = down(STACK_BYTES, end() - BELOW, &|| thread::sleep(Duration::from_millis(2)));
                ask_for_all();
                canaries + down(STACK_BYTES, end() / 2, &|| thread::sleep(Duration::from_millis(2)))
            })?;
            println!("all {canaries} records are whole");
        }
        "near-guard" => near_guard()?,
        "everywhere" => everywhere(),
        other => return Err(other.into()),
    }
    // The CPU goes idle, and whoever audits looks whether all frames are there.
    thread::sleep(Duration::from_millis(5));
    Ok(())
}

/// Spawns a thread and waits for what it returns.
fn spawn(name: &str, bytes: usize, work: impl FnOnce() -> usize + Send + 'static) -> Result<usize, String> {
    let builder = Builder::new().name(name.into()).stack_size(bytes);
    let thread = builder.spawn(work).map_err(|error| format!("{error}"))?;
    thread.join().map_err(|_| "it has panicked".into())
}

fn survivor(f: fn()) -> Result<usize, String> {
    spawn("survivor", STACK_BYTES, move || down(STACK_BYTES, end() - BELOW, &f))
}

/// Asks for as much of the stack as there is.
fn ask_for_all() {
    let asked = stack::ensure(usize::MAX);
    let Err(stack::EnsureError::TooSmall { most, .. }) = asked else { panic!("a stack has an end, and not {asked:?}") };
    stack::ensure(most).expect("there is memory");
}

/// Where what a thread has of its stack ends unless it asks for more, from the base of its slot.
fn end() -> usize {
    SLOT_BYTES - stack::unasked(stack::pages_of(STACK_BYTES)) * PAGE_BYTES
}

/// Goes down until it is less than `lowest` bytes above the base of its slot, in whose upper half its stack of `bytes` lies, calls
/// `f` there, and comes back. Returns how many records that were, all of which are whole.
#[inline(never)]
fn down(bytes: usize, lowest: usize, f: &dyn Fn()) -> usize {
    let canary = black_box([bytes ^ lowest; 16]);
    let here = (&raw const *black_box(&canary)).addr() % (2 * bytes);
    let deeper = if here > lowest {
        down(bytes, lowest, f)
    } else {
        f();
        0
    };
    assert!(black_box(&canary).iter().all(|word| *word == bytes ^ lowest), "a record was changed");
    deeper + 1
}

/// Sleeps below the end of a temporary stack, comes back, and borrows one again, which has its guard.
fn borrower() -> usize {
    let borrow = |lowest| {
        let sleeps = || thread::sleep(Duration::from_millis(2));
        let canaries = stack::call_with(STACK_BYTES, || down(STACK_BYTES, lowest, &sleeps)).expect("there is memory");
        sleeps();
        canaries
    };
    borrow(STACK_BYTES - BELOW) + borrow(2 * STACK_BYTES - STACK_BYTES / 2)
}

/// One thread after the other overflows the same slot: each finds its guard there.
fn again() -> Result<(), String> {
    static SLOT: AtomicUsize = AtomicUsize::new(0);
    thread::set_affinity(CpuSet::only(thread::current_cpu())).map_err(|error| format!("{error}"))?;
    let mut same = 0;
    for _ in 0..ROUNDS {
        let before = SLOT.load(Ordering::Relaxed);
        survivor(|| {
            let here = 0_u8;
            SLOT.store((&raw const *black_box(&here)).addr() / SLOT_BYTES, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
        })?;
        same += usize::from(SLOT.load(Ordering::Relaxed) == before);
        thread::sleep(Duration::from_millis(2));
    }
    if same == 0 {
        return Err("no slot was used again".into());
    }
    println!("{ROUNDS} threads have survived, each in its turn");
    Ok(())
}

/// A thread that stays near the guard is preempted there all the same.
fn near_guard() -> Result<(), String> {
    static IS_NEAR: AtomicBool = AtomicBool::new(false);
    static WAS_PREEMPTED: AtomicBool = AtomicBool::new(false);
    thread::set_affinity(CpuSet::only(thread::current_cpu())).map_err(|error| format!("{error}"))?;
    let near = Builder::new().name("near".into()).spawn(|| {
        down(STACK_BYTES, STACK_BYTES + NEAR, &|| {
            IS_NEAR.store(true, Ordering::Release);
            while !WAS_PREEMPTED.load(Ordering::Acquire) {
                spin_loop();
            }
        })
    });
    let near = near.map_err(|error| format!("{error}"))?;
    // On one CPU it is seen by who has taken that from it. On a busy host its slice may have ended before it was there.
    while !IS_NEAR.load(Ordering::Acquire) {
        thread::yield_now();
    }
    WAS_PREEMPTED.store(true, Ordering::Release);
    near.join().map_err(|_| "it has panicked")?;
    println!("it was preempted near the guard");
    Ok(())
}

/// A thread on each CPU survives, all at once, and they go on, on whichever CPU.
fn everywhere() {
    static BELOW_THEIR_STACKS: AtomicUsize = AtomicUsize::new(0);
    let count = thread::available_parallelism().map_or(1, usize::from);
    let threads: alloc::vec::Vec<_> = (0..count as u32)
        .map(|cpu| {
            let work = move || {
                down(STACK_BYTES, end() - BELOW, &|| {
                    BELOW_THEIR_STACKS.fetch_add(1, Ordering::AcqRel);
                    while BELOW_THEIR_STACKS.load(Ordering::Acquire) < count {
                        thread::yield_now();
                    }
                    thread::set_affinity(CpuSet::ALL).expect("all CPUs run");
                    thread::sleep(Duration::from_millis(2));
                })
            };
            Builder::new().affinity(CpuSet::only(cpu)).expect("the CPU runs").spawn(work).expect("there is memory")
        })
        .collect();
    let records: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("on {count} CPUs all {records} records are whole");
}
