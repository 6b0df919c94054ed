//! `Mutex` and `Condvar`.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::stack;
use ebbtide::sync::{Arc, Condvar, Mutex};
use ebbtide::thread::{self, Builder, Priority};
use ebbtide::time::{Duration, Instant};

use crate::harness::{Outcome, wait_until, within_a_minute};

tests![
    a_mutex_excludes_threads_that_yield,
    try_lock_does_not_wait,
    producers_and_consumers,
    notify_all_wakes_all,
    notify_one_wakes_the_longest_waiting,
    a_waiter_holds_the_lock_again,
    ; on one CPU:
    a_lock_that_came_free_while_it_was_queued_for_is_kept,
    a_mutex_excludes_preempted_threads,
];

fn a_mutex_excludes_preempted_threads() -> Outcome {
    let shared = Arc::new(Mutex::new((0_u64, 0_u64)));
    const SWITCHES: u64 = 16;
    let switches = || stack::counters().cache.switches;
    let (start, before) = (Instant::now(), switches());
    // For a while, and until enough time slices have ended.
    let go_on = move || {
        let enough = switches() - before >= SWITCHES;
        start.elapsed() < Duration::from_millis(150) || !enough && within_a_minute(start)
    };
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut rounds = 0;
                while go_on() {
                    let mut pair = shared.lock();
                    let seen = *pair;
                    // Most of the time is spent in here, so time slices end in here.
                    for _ in 0..200 {
                        pair.0 = black_box(pair.0 + 1);
                    }
                    pair.0 -= 199;
                    if seen.0 != seen.1 || pair.0 != seen.0 + 1 {
                        return Err(seen);
                    }
                    pair.1 += 1;
                    rounds += 1;
                }
                Ok(rounds)
            })
        })
        .collect();
    let mut total = 0_u64;
    for thread in threads {
        match thread.join().unwrap() {
            Ok(rounds) => total += rounds,
            Err(seen) => return Err(alloc::format!("two threads were inside: {seen:?}")),
        }
    }
    check_eq!(*shared.lock(), (total, total), "rounds counted under the lock");
    let switches = switches() - before;
    check!(switches >= SWITCHES, "only {switches} switches: nobody was preempted");
    Ok(())
}

fn a_mutex_excludes_threads_that_yield() -> Outcome {
    let shared = Arc::new(Mutex::new(0_u32));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for _ in 0..200 {
                    let mut count = shared.lock();
                    let seen = *count;
                    thread::yield_now();
                    *count = seen + 1;
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    check_eq!(*shared.lock(), 1_600, "additions under the lock");
    Ok(())
}

/// A thread finds the lock taken, enters the queue, is preempted there by the holder, which lets the lock go, and gets it
/// at its second look: then it has it, and must not wait for itself.
fn a_lock_that_came_free_while_it_was_queued_for_is_kept() -> Outcome {
    const ROUNDS: u32 = 6_000;
    let lock = Arc::new(Mutex::new(0_u64));
    let holders = Arc::clone(&lock);
    let ended = Arc::new(AtomicBool::new(false));
    let holder_ended = Arc::clone(&ended);
    // It wakes, and preempts the other, wherever that is.
    let holder = Builder::new().priority(Priority::MAX).spawn(move || {
        for _ in 0..ROUNDS {
            let held = holders.lock();
            thread::sleep(Duration::from_micros(20));
            drop(held);
            thread::sleep(Duration::from_micros(20));
        }
        holder_ended.store(true, Ordering::Release);
    });
    let holder = holder.map_err(|error| error.to_string())?;
    let mut rounds = 0;
    while !ended.load(Ordering::Acquire) {
        *lock.lock() += 1;
        rounds += 1;
    }
    holder.join().unwrap();
    check_eq!(*lock.lock(), rounds, "rounds counted under the lock");
    Ok(())
}

fn try_lock_does_not_wait() -> Outcome {
    let lock = Arc::new(Mutex::new(1));
    let held = lock.lock();
    check!(lock.try_lock().is_none(), "it was taken twice");
    let theirs = Arc::clone(&lock);
    check!(thread::spawn(move || theirs.try_lock().is_none()).join().unwrap(), "two threads hold it");
    drop(held);
    check_eq!(lock.try_lock().map(|value| *value), Some(1), "a free lock");
    Ok(())
}

/// A queue of three places between producers and consumers.
#[derive(Default)]
struct Channel {
    items: Mutex<VecDeque<u64>>,
    not_full: Condvar,
    not_empty: Condvar,
}

impl Channel {
    fn put(&self, item: u64) {
        let mut items = self.not_full.wait_while(self.items.lock(), |items| items.len() == 3);
        items.push_back(item);
        self.not_empty.notify_one();
    }

    fn take(&self) -> u64 {
        let mut items = self.not_empty.wait_while(self.items.lock(), |items| items.is_empty());
        let item = items.pop_front().expect("the queue is not empty");
        self.not_full.notify_one();
        item
    }
}

/// A lost wake-up ends in a deadlock, which ends the run.
fn producers_and_consumers() -> Outcome {
    const EACH: u64 = 2_000;
    let channel = Arc::new(Channel::default());
    let producers: Vec<_> = (0..4)
        .map(|n| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || (0..EACH).for_each(|item| channel.put(n * EACH + item)))
        })
        .collect();
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || (0..EACH).map(|_| channel.take()).collect::<Vec<_>>())
        })
        .collect();
    for producer in producers {
        producer.join().unwrap();
    }
    let mut all = Vec::new();
    for consumer in consumers {
        all.extend(consumer.join().unwrap());
    }
    all.sort_unstable();
    check!(all.iter().copied().eq(0..4 * EACH), "items were lost or doubled: {} arrived", all.len());
    Ok(())
}

fn notify_all_wakes_all() -> Outcome {
    const WAITERS: u32 = 16;
    // The round, and how many have arrived in it.
    let gate = Arc::new((Mutex::new((0_u32, 0_u32)), Condvar::new(), Condvar::new()));
    let threads: Vec<_> = (0..WAITERS)
        .map(|_| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                for round in 0..50 {
                    let mut state = gate.0.lock();
                    state.1 += 1;
                    gate.2.notify_one();
                    drop(gate.1.wait_while(state, |state| state.0 == round));
                }
            })
        })
        .collect();
    for _ in 0..50 {
        let mut state = gate.2.wait_while(gate.0.lock(), |state| state.1 < WAITERS);
        *state = (state.0 + 1, 0);
        gate.1.notify_all();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    Ok(())
}

fn notify_one_wakes_the_longest_waiting() -> Outcome {
    // Who waits, in order; how many may go; who went.
    let shared = Arc::new((Mutex::new((Vec::new(), 0_u32, Vec::new())), Condvar::new()));
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut state = shared.0.lock();
                state.0.push(n);
                state = shared.1.wait_while(state, |state| state.1 == 0);
                state.1 -= 1;
                state.2.push(n);
            })
        })
        .collect();
    wait_until("not all of them wait", || shared.0.lock().0.len() == 8)?;
    for gone in 1..=8 {
        shared.0.lock().1 = 1;
        shared.1.notify_one();
        wait_until("nobody woke", || shared.0.lock().2.len() == gone)?;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let state = shared.0.lock();
    check_eq!(state.2, state.0, "the order of going");
    Ok(())
}

fn a_waiter_holds_the_lock_again() -> Outcome {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&shared);
    let looked = Arc::new(AtomicBool::new(false));
    let their_looked = Arc::clone(&looked);
    let waiter = thread::spawn(move || {
        let guard = theirs.1.wait_while(theirs.0.lock(), |go| {
            their_looked.store(true, Ordering::Release);
            !*go
        });
        let excluded = theirs.0.try_lock().is_none();
        drop(guard);
        excluded
    });
    wait_until("a thread that waits still holds the lock", || {
        looked.load(Ordering::Acquire) && shared.0.try_lock().is_some()
    })?;
    *shared.0.lock() = true;
    shared.1.notify_all();
    check!(waiter.join().unwrap(), "it went on without the lock");
    Ok(())
}
