//! One CPU comes up, or ends the run, while others are in the middle of something.

use alloc::string::String;
use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::hint::spin_loop;
use ebbtide::thread::{self, Builder, CpuSet, Priority};
use ebbtide::time::{Duration, Instant};
use ebbtide::{println, provoke, stack};

use crate::word;

pub fn main() -> Result<(), String> {
    match &*word(1) {
        "panic-while-waited-for" => panic_while_waited_for(),
        "panic-everywhere" => on_each(|_| {
            meet();
            fail()
        }),
        "late" => come_up_during_a_storm(),
        "overflow" => on(last(), || {
            black_box(overflow(0));
        }),
        "panic-while-all-print" => {
            on_each(|cpu| {
                meet();
                if cpu == last() { fail() } else { print_for_ever() }
            });
        }
        "panic-with-timers-due" => panic_with_timers_due(),
        // The main thread returns, and the others are still at it.
        "return" => {
            for cpu in 0..count() {
                drop(bound_to(cpu).spawn(|| {
                    ARRIVED.fetch_add(1, Ordering::AcqRel);
                    print_for_ever()
                }));
            }
            while ARRIVED.load(Ordering::Acquire) < count() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        // The same, and they wait for nothing at which they would notice.
        "return-while-all-compute" => {
            for cpu in 0..count() {
                drop(bound_to(cpu).priority(Priority::new(0).expect("the lowest")).spawn(compute_on));
            }
            while ARRIVED.load(Ordering::Acquire) < count() {
                thread::sleep(Duration::from_millis(1));
            }
            HAS_RETURNED.store(true, Ordering::Release);
        }
        other => return Err(other.into()),
    }
    Ok(())
}

/// Whether the main thread has done all but return.
static HAS_RETURNED: AtomicBool = AtomicBool::new(false);

/// Computes until the run has long been ended, but for less time than who ends it waits for a CPU that does not stop; says so if it comes
/// that far.
fn compute_on() {
    ARRIVED.fetch_add(1, Ordering::AcqRel);
    while !HAS_RETURNED.load(Ordering::Acquire) {
        spin_loop();
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        spin_loop();
    }
    println!("CPU {} computes after the end", thread::current_cpu());
}

/// Threads that have come to where all meet.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

fn count() -> u32 {
    thread::available_parallelism().unwrap().get() as u32
}

fn last() -> u32 {
    count() - 1
}

fn bound_to(cpu: u32) -> Builder {
    Builder::new().affinity(CpuSet::only(cpu)).expect("the CPU runs")
}

fn on(cpu: u32, f: impl FnOnce() + Send + 'static) {
    bound_to(cpu).spawn(f).expect("there is memory").join().unwrap();
}

fn on_each(f: fn(u32)) {
    let threads: alloc::vec::Vec<_> =
        (0..count()).map(|cpu| bound_to(cpu).spawn(move || f(cpu)).expect("there is memory")).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Waits, without giving way, until a thread on each CPU has come here.
fn meet() {
    ARRIVED.fetch_add(1, Ordering::AcqRel);
    while ARRIVED.load(Ordering::Acquire) < count() {
        spin_loop();
    }
}

fn fail() {
    panic!("CPU {} fails", thread::current_cpu());
}

fn print_for_ever() {
    for line in 0_u64.. {
        println!("line {line} of CPU {} is whole", thread::current_cpu());
    }
}

fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    let below = if depth < black_box(u64::MAX) { overflow(depth + 1) } else { 0 };
    below.wrapping_add(black_box(frame)[7])
}

/// The last CPU keeps interrupts off while the first one frees stacks' pages, for which it needs an answer of all.
fn panic_while_waited_for() {
    static OFF: AtomicBool = AtomicBool::new(false);

    let silent = bound_to(last()).spawn(|| {
        provoke::with_interrupts_off(|| {
            OFF.store(true, Ordering::Release);
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(50) {
                spin_loop();
            }
            fail();
        });
    });
    let silent = silent.expect("there is memory");
    while !OFF.load(Ordering::Acquire) && !silent.is_finished() {
        thread::yield_now();
    }
    thread::set_affinity(CpuSet::only(0)).expect("the first CPU runs");
    // Each time the CPU goes idle, what rests is freed.
    loop {
        thread::sleep(Duration::from_micros(100));
    }
}

/// What takes time to say, and how much.
struct TakesTime;

impl fmt::Display for TakesTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            spin_loop();
        }
        write!(out, "waited {} ms", start.elapsed().as_millis())
    }
}

/// On all other CPUs a slice ends after they have stopped, while the message is still written: none of them gets its interrupt, nor takes
/// time that is this CPU's where they take turns.
fn panic_with_timers_due() {
    thread::set_affinity(CpuSet::only(0)).expect("the first CPU runs");
    let others = (1..count()).flat_map(|cpu| [cpu; 2]);
    let started = others.map(|cpu| drop(bound_to(cpu).spawn(compute_on).expect("there is memory"))).count() as u32;
    while ARRIVED.load(Ordering::Acquire) < started {
        thread::sleep(Duration::from_millis(1));
    }
    panic!("{}", TakesTime);
}

/// Threads of the storm.
const STORM: usize = 24;

/// Pages of stacks are freed all the time, and each time all CPUs that have joined are made to forget them, while one CPU after
/// the other comes up.
///
/// The first CPU starts the others, and does not go idle meanwhile. So it is those that ran before which free: on each of them one
/// thread sleeps for moments only, and each time the CPU goes idle and frees what rests there. The kernel counts for each CPU what was
/// under way while it came up; the storm has to have reached one of them.
fn come_up_during_a_storm() {
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    let before_them = count() as usize;
    assert!(before_them > 1, "a CPU that goes idle, and the one that starts the others");
    // Above the thread that starts the CPUs, so that it goes on meanwhile.
    let above = || Builder::new().priority(Priority::new(20).expect("a level from 0 to 31"));
    let storm: alloc::vec::Vec<_> = (0..STORM)
        .map(|number| {
            let thread = above().spawn(move || {
                while !IS_OVER.load(Ordering::Acquire) {
                    let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
                    let word = number as u64 ^ u64::from(round) << 8;
                    assert_eq!(sleep_below(word, 40), 0, "canaries that were changed");
                    // Shallow: what was used rests, and is freed if nobody comes soon.
                    thread::sleep(Duration::from_millis(2));
                }
            });
            thread.expect("there is memory")
        })
        .collect();
    let gusts: alloc::vec::Vec<_> = (1..count())
        .map(|cpu| {
            let thread = above().stack_size(64 << 10).affinity(CpuSet::only(cpu)).expect("the CPU runs").spawn(|| {
                while !IS_OVER.load(Ordering::Acquire) {
                    thread::sleep(Duration::from_micros(10));
                }
            });
            thread.expect("there is memory")
        })
        .collect();
    thread::set_affinity(CpuSet::only(0)).expect("the first CPU runs");
    let freed = || stack::counters().cache.pages_freed;
    let wait_for_more = || {
        let before = (freed(), ROUNDS.load(Ordering::Relaxed));
        while freed() < before.0 + 1_000 || ROUNDS.load(Ordering::Relaxed) < before.1 + 2 * STORM as u32 {
            thread::sleep(Duration::from_millis(1));
        }
    };
    wait_for_more();
    let before = freed();
    let cpus = thread::start_other_cpus();
    let during = freed() - before;
    let met: alloc::vec::Vec<_> = stack::shootdowns_while_coming_up().skip(before_them).collect();
    assert!(met.iter().any(|met| *met > 0), "no CPU met a shootdown while it came up: {met:?}");
    wait_for_more();
    // Each is one that runs threads.
    on_each(|cpu| assert_eq!(thread::current_cpu(), cpu));
    IS_OVER.store(true, Ordering::Release);
    gusts.into_iter().chain(storm).for_each(|thread| thread.join().unwrap());
    println!("{cpus} CPUs run; while they came up {during} pages were freed, and they met {met:?} shootdowns");
}

/// Sleeps so many activation records deeper, each with a canary; returns how many were changed.
fn sleep_below(word: u64, depth: usize) -> u64 {
    let canary = black_box([word; 24]);
    let changed = if depth > 0 {
        sleep_below(word + 1, depth - 1)
    } else {
        thread::sleep(Duration::from_millis(1));
        0
    };
    changed + u64::from(black_box(&canary).iter().any(|found| *found != word))
}
