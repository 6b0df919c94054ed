//! Threads that do a bit of everything that Ebbtide has for them, and how deep they went on their kernel stacks, in Linux's buckets.
//!
//! `each` threads of each kind do their work, some of it over and over, while one of the highest priority wakes all the time: a thread is
//! seen where a trap interrupts it, so there have to be traps. The image must audit itself; others know no depths. The
//! kernel prints them when it is asked to, with `ebbtide.report=depth`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::sync::mpsc::{Receiver, Sender, channel};
use ebbtide::sync::{Arc, Barrier, Condvar, Mutex, RwLock, Semaphore};
use ebbtide::thread::{self, Builder, JoinHandle, Priority};
use ebbtide::time::{Duration, Instant};
use ebbtide::{print, stack, user};
use ebbtide_figures::word;

ebbtide::main!(main);

/// How often a thread does its work.
const ROUNDS: usize = 20;

/// Between two timer interrupts that come whatever the threads do: not so short that nothing else gets its turn, for an audit takes long.
const TICK: Duration = Duration::from_micros(if cfg!(debug_assertions) { 250 } else { 20 });

/// What threads share.
struct Shared {
    lock: Mutex<BTreeMap<usize, String>>,
    changed: Condvar,
    table: RwLock<Vec<usize>>,
    permits: Semaphore,
    meeting: Barrier,
}

/// What a thread of each kind does; the numbers are its own, and its round.
const KINDS: [fn(&Shared, usize, usize); 10] = [
    |_, number, _| thread::sleep(Duration::from_micros(100 + number as u64)),
    |shared, number, round| {
        shared.lock.lock().insert(number, format!("thread {number} in round {round}"));
        shared.changed.notify_one();
        thread::yield_now();
    },
    |shared, _, _| {
        let guard = shared.lock.lock();
        let (guard, _in_time) = shared.changed.wait_timeout(guard, Duration::from_micros(200));
        black_box(guard.values().map(String::len).sum::<usize>());
    },
    |shared, number, round| {
        if round == 0 {
            shared.table.write().push(number);
        }
        black_box(shared.table.read().iter().max());
    },
    |shared, number, _| {
        shared.permits.acquire();
        thread::sleep_until(Instant::now() + Duration::from_micros(number as u64));
        shared.permits.release();
    },
    |shared, _, _| {
        shared.meeting.wait();
    },
    // To the console, though nothing is to be read there.
    |_, number, round| print!("{:.*}", 0, Some((number, round)).map(|pair| format!("{pair:?}")).unwrap_or_default()),
    |_, number, round| {
        let words: Vec<_> = (0..50 + round).map(|word| (word * number).to_string()).collect();
        black_box(words.join(" "));
    },
    |_, number, round| {
        if round % 10 == 0 {
            thread::spawn(move || black_box(number.to_string())).join().map(drop).unwrap();
        }
    },
    |_, number, round| {
        let mut sums = [0; 2];
        if round % 10 == 0 {
            thread::scope(|scope| sums.iter_mut().for_each(|sum| drop(scope.spawn(move || *sum = number))));
        }
        black_box(sums);
    },
];

fn main() -> Result<(), String> {
    let each = word("each")?;
    let shared = Arc::new(Shared {
        lock: Mutex::new(BTreeMap::new()),
        changed: Condvar::new(),
        table: RwLock::new(Vec::new()),
        permits: Semaphore::new(3),
        meeting: Barrier::new(each),
    });
    let done = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&done);
    let ticker = Builder::new().priority(Priority::MAX).spawn(move || {
        while !theirs.load(Ordering::Relaxed) {
            thread::sleep(TICK);
        }
    });
    let ticker = ticker.map_err(|error| error.to_string())?;
    let mut handles: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..each {
        for kind in KINDS {
            let shared = Arc::clone(&shared);
            handles.push(thread::spawn(move || (0..ROUNDS).for_each(|round| kind(&shared, number, round))));
        }
        let (sender, receiver) = channel();
        handles.push(thread::spawn(move || send(&sender, number)));
        handles.push(thread::spawn(move || receive(&receiver)));
        handles.push(thread::spawn(move || drop(user::spawn(call_the_kernel, number as u64).join())));
    }
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    done.store(true, Ordering::Relaxed);
    ticker.join().unwrap();
    stack::settle();
    stack::report().depths.map(drop).ok_or_else(|| "this image does not look; build it with `--audit`".to_string())
}

fn send(sender: &Sender<String>, number: usize) {
    for round in 0..ROUNDS {
        sender.send(format!("{number} {round}")).unwrap();
        thread::yield_now();
    }
}

fn receive(receiver: &Receiver<String>) {
    black_box(receiver.iter().map(|text| text.len()).sum::<usize>());
}

/// In user mode: calls that return at once, sleep, write, and begin and join a thread.
fn call_the_kernel(number: u64) -> u64 {
    for round in 0..ROUNDS as u64 {
        user::null_call();
        user::yield_now();
        user::sleep(Duration::from_micros(50 + number + round));
        user::park(Some(Duration::from_micros(10)));
    }
    user::spawn_child(|number: u64| number + user::id(), number).ok().and_then(|child| child.join().ok()).unwrap_or(0)
}
