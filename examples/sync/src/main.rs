//! A harbour in which threads wait for each other in each of std's ways.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

use ebbtide::sync::{Barrier, Condvar, Mutex, OnceLock, RwLock, Semaphore, mpsc};
use ebbtide::thread::{self, Builder, StackError};
use ebbtide::time::{Duration, Instant};
use ebbtide::{println, thread_local};

ebbtide::main!(main);

const A_WHILE: Duration = Duration::from_micros(500);

fn main() -> Result<(), StackError> {
    berths();
    log_book()?;
    tide_table();
    rowers();
    chart();
    wind();
    Ok(())
}

/// A semaphore lets two ships in at a time. The threads borrow it, and the counters, from their scope's stack.
fn berths() {
    let (berths, inside, most) = (Semaphore::new(2), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|harbour| {
        for _ in 0..8 {
            harbour.spawn(|| {
                berths.acquire();
                most.fetch_max(1 + inside.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                thread::sleep(A_WHILE);
                inside.fetch_sub(1, Ordering::Relaxed);
                berths.release();
            });
        }
    });
    println!("8 ships called, {} at a time", most.into_inner());
}

/// Ships send to one pilot, who has room for two words, until the last ship is gone.
fn log_book() -> Result<(), StackError> {
    let (radio, pilot) = mpsc::sync_channel(2);
    for name in ["Ebb", "Flow", "Neap"] {
        let radio = radio.clone();
        Builder::new().name(name.into()).spawn(move || {
            let me = thread::current();
            (1..=10).for_each(|n| radio.send((String::from(me.name().unwrap_or("?")), n)).unwrap());
        })?;
    }
    drop(radio);
    let words: Vec<_> = pilot.iter().collect();
    let of = |ship| words.iter().filter(move |(name, _)| name == ship).map(|(_, n)| *n);
    let in_order = ["Ebb", "Flow", "Neap"].into_iter().all(|ship| of(ship).eq(1..=10));
    println!("{} words came, each ship's in order: {in_order}", words.len());
    Ok(())
}

/// Many read a table at a time, and one changes it.
fn tide_table() {
    let table = RwLock::new([0_u32; 12]);
    let read = thread::scope(|harbour| {
        let readers = [0; 4].map(|_| {
            harbour.spawn(|| {
                while table.read()[11] < 12 {
                    thread::sleep(A_WHILE);
                }
                table.read().iter().sum::<u32>()
            })
        });
        for hour in 0..12 {
            table.write()[hour] = 12;
            thread::yield_now();
        }
        readers.map(|reader| reader.join().unwrap())
    });
    println!("4 read the same table: {}", read == [144; 4]);
}

/// A barrier keeps rowers in time: none begins a stroke before all have ended the one before.
fn rowers() {
    const STROKES: u32 = 5;
    thread_local!(static STROKE: Cell<u32> = const { Cell::new(0) });
    let (in_time, calls) = (Barrier::new(4), AtomicU32::new(0));
    let strokes: u32 = thread::scope(|boat| {
        let rowers = [0; 4].map(|_| {
            boat.spawn(|| {
                for _ in 0..STROKES {
                    STROKE.set(STROKE.get() + 1);
                    calls.fetch_add(u32::from(in_time.wait().is_leader()), Ordering::Relaxed);
                }
                STROKE.get()
            })
        });
        rowers.into_iter().map(|rower| rower.join().unwrap()).sum()
    });
    println!("4 rowers made {strokes} strokes to {} calls", calls.into_inner());
}

/// Who needs the chart first draws it; the others wait.
fn chart() {
    static CHART: OnceLock<u32> = OnceLock::new();
    let drawn = AtomicU32::new(0);
    let draw = || {
        thread::sleep(A_WHILE);
        1 + drawn.fetch_add(1, Ordering::Relaxed)
    };
    thread::scope(|harbour| {
        for _ in 0..4 {
            harbour.spawn(|| CHART.get_or_init(draw));
        }
    });
    println!("the chart was drawn {} time", drawn.into_inner());
}

/// Each wait can have an end.
fn wind() {
    let (wind, rose) = (Mutex::new(false), Condvar::new());
    let start = Instant::now();
    let (_calm, waited) = rose.wait_timeout_while(wind.lock(), 4 * A_WHILE, |wind| !*wind);
    println!("no wind within {:?}: {}", 4 * A_WHILE, waited.timed_out() && start.elapsed() >= 4 * A_WHILE);
}
