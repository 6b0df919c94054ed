//! Waits whose time is up, and those that end before: `Mutex`, `Condvar`, `park`, and the timers behind them.

use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::sync::{Arc, Condvar, Mutex, MutexGuard};
use ebbtide::thread::{self, Builder, Priority};
use ebbtide::time::{Duration, Instant};

use crate::harness::{Dice, Outcome, failed, wait_until, within_a_minute};

tests![
    try_lock_for_waits_and_gives_up,
    a_lock_and_time_outs_meet,
    a_wait_for_a_notification_times_out,
    wait_timeout_while_looks_a_last_time,
    notifications_and_time_outs_meet,
    park_timeout_gives_up_or_takes_the_token,
    unpark_and_time_outs_meet,
    many_waits_end_before_their_time,
    instants_are_added_and_subtracted,
    ; on one CPU:
    a_notification_after_the_deadline_still_counts,
];

const SOON: Duration = Duration::from_millis(2);
const NEVER: Duration = Duration::from_secs(3_600);

fn try_lock_for_waits_and_gives_up() -> Outcome {
    let lock = &Mutex::new(1);
    thread::scope(|scope| {
        let held = lock.lock();
        let start = Instant::now();
        let deadline = start + SOON;
        let in_vain = [
            scope.spawn(move || lock.try_lock_for(SOON).is_none()),
            scope.spawn(move || lock.try_lock_until(deadline).is_none()),
        ];
        let in_vain = in_vain.map(|thread| thread.join().unwrap());
        check_eq!(in_vain, [true; 2], "whether they gave up");
        check!(start.elapsed() >= SOON, "they gave up after {:?}", start.elapsed());
        let patient = scope.spawn(|| lock.try_lock_for(NEVER).map(|value| *value));
        thread::sleep(Duration::from_millis(1));
        drop(held);
        check_eq!(patient.join().unwrap(), Some(1), "a lock that came free in time");
        Ok(())
    })?;
    check_eq!(lock.try_lock_until(Instant::now()).map(|value| *value), Some(1), "a lock that is free");
    Ok(())
}

/// Those who give up must not keep the others from the lock, and no more must those who come back to it at once.
fn a_lock_and_time_outs_meet() -> Outcome {
    let lock = Mutex::new(0_u64);
    let (stop, taken, in_vain) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let mut additions: u64 = 0;
    thread::scope(|scope| {
        for seed in 0..6 {
            let (lock, stop, taken, in_vain) = (&lock, &stop, &taken, &in_vain);
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                while !stop.load(Ordering::Acquire) {
                    match lock.try_lock_for(dice.micros(60)) {
                        Some(mut value) => {
                            let seen = *value;
                            thread::sleep(dice.micros(30));
                            *value = seen + 1;
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                        None => {
                            in_vain.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        let patient = [0; 2].map(|_| {
            scope.spawn(|| {
                let mut turns = 0;
                // The others may be slow to begin.
                while turns < 300 || [&taken, &in_vain].iter().any(|count| count.load(Ordering::Relaxed) == 0) {
                    *lock.lock() += 1;
                    turns += 1;
                }
                turns
            })
        });
        additions = patient.into_iter().map(|thread| thread.join().unwrap()).sum();
        stop.store(true, Ordering::Release);
    });
    check_eq!(lock.into_inner(), additions + u64::from(taken.into_inner()), "additions under the lock");
    Ok(())
}

fn a_wait_for_a_notification_times_out() -> Outcome {
    let (lock, changed) = (Mutex::new(0), Condvar::new());
    let start = Instant::now();
    let (guard, result) = changed.wait_timeout(lock.lock(), SOON);
    check!(result.timed_out(), "somebody notified it");
    check!(start.elapsed() >= SOON, "it gave up after {:?}", start.elapsed());
    check!(lock.try_lock().is_none(), "it went on without the lock");
    drop(guard);
    // It has left: this wakes the one that waits, not nobody.
    let waits = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.lock();
            waits.store(true, Ordering::Release);
            changed.wait_timeout(guard, NEVER).1.timed_out()
        });
        wait_until("nobody waits", || waits.load(Ordering::Acquire) && lock.try_lock().is_some())?;
        changed.notify_one();
        check!(!waiter.join().unwrap(), "it was notified, and timed out");
        Ok(())
    })
}

/// The notifier has a higher priority and keeps the CPU beyond the deadline, so the waiter is still there. If the time is
/// up before the notifier has the CPU, it says nothing: then once more, with twice the time.
fn a_notification_after_the_deadline_still_counts() -> Outcome {
    let (start, mut timeout) = (Instant::now(), SOON);
    while within_a_minute(start) {
        // When the waiter came: its deadline is not before `timeout` after that.
        let shared = Arc::new((Mutex::new(None), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn(move || {
            let mut guard = theirs.0.lock();
            *guard = Some(Instant::now());
            theirs.1.wait_timeout(guard, timeout).1.timed_out()
        });
        let mut came = None;
        wait_until("nobody waits", || {
            came = shared.0.try_lock().and_then(|waits| *waits);
            came.is_some()
        })?;
        let deadline = came.ok_or("nobody came")? + timeout;
        let theirs = Arc::clone(&shared);
        let notifier = Builder::new().priority(Priority::MAX).spawn(move || {
            let in_time = Instant::now() < deadline;
            while Instant::now() < deadline + SOON {
                spin_loop();
            }
            theirs.1.notify_one();
            in_time
        });
        let (in_time, timed_out) = (notifier.map_err(failed("spawn"))?.join().unwrap(), waiter.join().unwrap());
        if in_time {
            check!(!timed_out, "the notification was spent on a thread that timed out");
            return Ok(());
        }
        timeout *= 2;
    }
    Err("after a minute: the notifier never came in time".into())
}

fn wait_timeout_while_looks_a_last_time() -> Outcome {
    let (lock, changed) = (Mutex::new(0), Condvar::new());
    let (guard, result) = changed.wait_timeout_while(lock.lock(), SOON, |value| *value == 0);
    check_eq!((*guard, result.timed_out()), (0, true), "nobody changed it");
    drop(guard);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let (guard, result) = changed.wait_timeout_while(lock.lock(), SOON, |value| {
                *value += 1;
                *value < 2
            });
            (*guard, result.timed_out())
        });
        // Nobody notifies it: its own last look finds that it may go.
        check_eq!(waiter.join().unwrap(), (2, false), "its second look");
        let waiter = scope.spawn(|| {
            let (guard, result) = changed.wait_timeout_while(lock.lock(), NEVER, |value| *value < 3);
            (*guard, result.timed_out())
        });
        thread::sleep(Duration::from_millis(1));
        *lock.lock() = 3;
        changed.notify_one();
        check_eq!(waiter.join().unwrap(), (3, false), "a change in time");
        Ok(())
    })
}

/// A stock that is filled one by one, each time with one notification. Some take from it for a while, one waits without
/// an end; if a notification is spent on a thread that goes without, that one never wakes.
fn notifications_and_time_outs_meet() -> Outcome {
    const ROUNDS: u32 = 500;
    let (stock, filled, emptied) = (Mutex::new(0_u32), Condvar::new(), Condvar::new());
    let (taken, in_vain) = (AtomicU32::new(0), AtomicU32::new(0));
    let stop = AtomicBool::new(false);
    let take = |mut guard: MutexGuard<'_, u32>| {
        *guard -= 1;
        taken.fetch_add(1, Ordering::Relaxed);
        emptied.notify_one();
    };
    thread::scope(|scope| {
        for seed in 0..4 {
            let (stock, filled, in_vain, stop, take) = (&stock, &filled, &in_vain, &stop, &take);
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                while !stop.load(Ordering::Acquire) {
                    // A single wait: its result alone says whether the notification was for this thread.
                    let guard = stock.lock();
                    let (guard, result) = filled.wait_timeout(guard, dice.micros(50));
                    if result.timed_out() {
                        in_vain.fetch_add(1, Ordering::Relaxed);
                        drop(guard);
                        thread::sleep(dice.micros(30));
                    } else if *guard > 0 {
                        take(guard);
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let guard = filled.wait_while(stock.lock(), |stock| *stock == 0 && !stop.load(Ordering::Acquire));
                if *guard > 0 {
                    take(guard);
                }
            }
        });
        let mut dice = Dice::new(77);
        for _ in 0..ROUNDS {
            thread::sleep(dice.micros(40));
            *stock.lock() += 1;
            filled.notify_one();
            drop(emptied.wait_while(stock.lock(), |stock| *stock > 0));
        }
        stop.store(true, Ordering::Release);
        drop(stock.lock());
        filled.notify_all();
    });
    check_eq!((taken.into_inner(), stock.into_inner()), (ROUNDS, 0), "what was taken and what is left");
    check!(in_vain.into_inner() > 0, "no time was ever up");
    Ok(())
}

fn park_timeout_gives_up_or_takes_the_token() -> Outcome {
    // A test before this one may have left a token.
    thread::park_timeout(Duration::ZERO);
    let start = Instant::now();
    thread::park_timeout(SOON);
    check!(start.elapsed() >= SOON, "it gave up after {:?}", start.elapsed());
    thread::current().unpark();
    // Returns at once; the run would not end otherwise.
    thread::park_timeout(NEVER);
    let parked = thread::spawn(|| thread::park_timeout(NEVER));
    thread::sleep(Duration::from_millis(1));
    parked.thread().unpark();
    parked.join().unwrap();
    // Its time was up, so it left no token behind, and took none.
    thread::park_timeout(Duration::ZERO);
    let start = Instant::now();
    thread::park_timeout(SOON);
    check!(start.elapsed() >= SOON, "a token was left over");
    Ok(())
}

/// Each unpark is seen, whether it meets a thread that waits, that gives up, or that comes back.
fn unpark_and_time_outs_meet() -> Outcome {
    const ROUNDS: u32 = 1_000;
    let (asked, answered) = (AtomicU32::new(0), AtomicU32::new(0));
    let main = thread::current();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut dice = Dice::new(5);
            for round in 1..=ROUNDS {
                while asked.load(Ordering::Acquire) < round {
                    // Now and then without an end: the token must be there still.
                    if dice.below(4) == 0 { thread::park() } else { thread::park_timeout(dice.micros(30)) }
                }
                answered.store(round, Ordering::Release);
                main.unpark();
            }
        });
        let mut dice = Dice::new(6);
        for round in 1..=ROUNDS {
            thread::sleep(dice.micros(25));
            asked.store(round, Ordering::Release);
            other.thread().unpark();
            while answered.load(Ordering::Acquire) < round {
                thread::park();
            }
        }
    });
    check_eq!(answered.into_inner(), ROUNDS, "answers");
    Ok(())
}

/// Woken threads leave no timer behind: they are gone when it would be looked at.
fn many_waits_end_before_their_time() -> Outcome {
    let (lock, changed) = (Mutex::new(0_u32), Condvar::new());
    for round in 1..=6 {
        let woken: Vec<bool> = thread::scope(|scope| {
            let threads: Vec<_> = (0..12)
                .map(|n| {
                    let (lock, changed) = (&lock, &changed);
                    scope.spawn(move || {
                        let timeout = NEVER + Duration::from_nanos(n);
                        let (_guard, result) = changed.wait_timeout_while(lock.lock(), timeout, |at| *at < round);
                        !result.timed_out()
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(1));
            *lock.lock() = round;
            changed.notify_all();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        check!(woken.iter().all(|woken| *woken), "some timed out: {woken:?}");
        // Their memory is used again, and the timers are gone through.
        let sleepers: Vec<_> = (0..12).map(|n| thread::spawn(move || thread::sleep(n * SOON / 12))).collect();
        sleepers.into_iter().for_each(|thread| thread.join().unwrap());
    }
    Ok(())
}

fn instants_are_added_and_subtracted() -> Outcome {
    let now = Instant::now();
    let mut later = now;
    later += SOON;
    check_eq!((later - now, now - later), (SOON, Duration::ZERO), "differences");
    check_eq!(later.checked_duration_since(now), Some(SOON), "the same, checked");
    check_eq!(now.checked_duration_since(later), None, "the other way");
    check_eq!(later.checked_sub(SOON), Some(now), "the way back");
    check_eq!(now.checked_add(SOON), Some(later), "the way there");
    check_eq!((now.checked_add(Duration::MAX), now.checked_sub(Duration::MAX)), (None, None), "too far");
    later -= 2 * SOON;
    check!(later < now && later == now - SOON, "before now: {later:?}, {now:?}");
    check!(Instant::now() >= now && now.elapsed() < NEVER, "time that passes");
    Ok(())
}
