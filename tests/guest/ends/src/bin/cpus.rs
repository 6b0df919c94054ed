//! One CPU ends the run while others are in the middle of something.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::thread::{self, Builder, CpuSet};
use ebbtide::time::{Duration, Instant};
use ebbtide::{println, provoke};
use ebbtide_ends::word;

ebbtide::main!(main);

fn main() -> Result<(), String> {
    match &*word(1) {
        "panic-while-waited-for" => panic_while_waited_for(),
        "panic-everywhere" => on_each(|_| {
            meet();
            fail()
        }),
        "overflow" => on(last(), || {
            black_box(overflow(0));
        }),
        "panic-while-all-print" => {
            on_each(|cpu| {
                meet();
                if cpu == last() { fail() } else { print_for_ever() }
            });
        }
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
        other => return Err(other.into()),
    }
    Ok(())
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
