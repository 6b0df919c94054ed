//! `RwLock`.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::sync::{Arc, RwLock, RwLockWriteGuard};
use ebbtide::thread;
use ebbtide::time::{Duration, Instant};

use crate::harness::{Dice, Outcome, wait_until, within_a_minute};
use crate::schedule::Log;

tests![
    writers_exclude_all_and_readers_do_not,
    a_waiting_writer_is_let_in_before_new_readers,
    readers_go_on_when_the_last_writer_gives_up,
    try_read_and_try_write_do_not_wait,
    a_write_guard_becomes_a_read_guard,
    readers_and_writers_that_give_up,
];

/// Readers and writers of one pair, with time slices that end inside; both numbers change together. They go on until two readers
/// have met inside, too: a host with fewer CPUs than the guest has may let them run one after the other for a while.
fn writers_exclude_all_and_readers_do_not() -> Outcome {
    let pair = RwLock::new((0_u64, 0_u64));
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let goes_on = |start: Instant| {
        let have_met = most.load(Ordering::Relaxed) > 1;
        start.elapsed() < Duration::from_millis(120) || !have_met && within_a_minute(start)
    };
    let written = thread::scope(|scope| {
        let readers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let start = Instant::now();
                    while goes_on(start) {
                        let guard = pair.read();
                        most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                        thread::yield_now();
                        let whole = guard.0 == guard.1;
                        inside.fetch_sub(1, Ordering::Relaxed);
                        drop(guard);
                        if !whole {
                            return false;
                        }
                        thread::sleep(Duration::from_micros(20));
                    }
                    true
                })
            })
            .collect();
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let (pair, inside, goes_on) = (&pair, &inside, &goes_on);
                scope.spawn(move || {
                    let (start, mut dice, mut rounds) = (Instant::now(), Dice::new(seed), 0_u64);
                    while goes_on(start) {
                        let mut guard = pair.write();
                        guard.0 += 1;
                        thread::yield_now();
                        let alone = inside.load(Ordering::Relaxed) == 0 && guard.0 == guard.1 + 1;
                        guard.1 += 1;
                        drop(guard);
                        if !alone {
                            return None;
                        }
                        rounds += 1;
                        thread::sleep(dice.micros(50));
                    }
                    Some(rounds)
                })
            })
            .collect();
        let whole = readers.into_iter().all(|reader| reader.join().unwrap());
        let written: Option<u64> = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        whole.then_some(written).flatten()
    });
    let Some(written) = written else {
        return Err("a writer was not alone".into());
    };
    check_eq!(*pair.read(), (written, written), "what the writers wrote");
    check!(most.load(Ordering::Relaxed) > 1, "no two readers were ever inside together");
    Ok(())
}

fn a_waiting_writer_is_let_in_before_new_readers() -> Outcome {
    let lock = RwLock::new(());
    let log = Log::new(3);
    thread::scope(|scope| {
        let first = lock.read();
        let writer = scope.spawn(|| {
            let _guard = lock.write();
            log.note(1);
        });
        wait_until("no writer waits", || lock.try_read().is_none())?;
        let readers = [2, 2].map(|n| {
            let (lock, log) = (&lock, &log);
            scope.spawn(move || {
                let _guard = lock.read();
                log.note(n);
            })
        });
        thread::sleep(Duration::from_millis(1));
        let early = log.len();
        drop(first);
        writer.join().unwrap();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        check_eq!(early, 0, "threads that entered past a writer that waits");
        Ok(())
    })?;
    check_eq!(log.read(), [1, 2, 2], "the writer (1) and the readers that came later");
    Ok(())
}

/// A reader is inside, a writer waits, and readers wait for it. The writer's time is up: they have nobody to wait for.
/// If it is up before they come, it says nothing: then once more, with twice the time.
fn readers_go_on_when_the_last_writer_gives_up() -> Outcome {
    let (start, mut timeout) = (Instant::now(), Duration::from_millis(3));
    let lock = RwLock::new(());
    let met = AtomicU32::new(0);
    while met.load(Ordering::Relaxed) == 0 {
        check!(within_a_minute(start), "after a minute: no reader came while a writer waited");
        thread::scope(|scope| {
            let first = lock.read();
            let writer = scope.spawn(|| lock.try_write_for(timeout).is_some());
            wait_until("no writer waits", || lock.try_read().is_none() || writer.is_finished())?;
            let read = || {
                // A writer waits, so this one has to.
                met.fetch_add(lock.try_read().is_none().into(), Ordering::Relaxed);
                drop(lock.read());
            };
            let readers = [0; 4].map(|_| scope.spawn(read));
            // The first reader stays; a deadlock would end the run.
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            check!(!writer.join().unwrap(), "it wrote while there was a reader");
            check!(lock.try_read_for(Duration::ZERO).is_some(), "readers exclude each other");
            drop(first);
            check!(lock.try_write_for(Duration::ZERO).is_some(), "it is free and cannot be had");
            Ok::<_, alloc::string::String>(())
        })?;
        timeout *= 2;
    }
    Ok(())
}

fn try_read_and_try_write_do_not_wait() -> Outcome {
    let lock = RwLock::new(3);
    let reader = lock.read();
    check_eq!(lock.try_read().map(|value| *value), Some(3), "a second reader's value");
    check!(lock.try_write().is_none(), "a writer beside a reader");
    drop(reader);
    let mut writer = lock.try_write().ok_or("it was free")?;
    *writer = 4;
    check!(lock.try_read().is_none() && lock.try_write().is_none(), "somebody beside a writer");
    drop(writer);
    check_eq!(lock.into_inner(), 4, "what was written");
    Ok(())
}

fn a_write_guard_becomes_a_read_guard() -> Outcome {
    let lock = RwLock::new(0);
    thread::scope(|scope| {
        let mut writer = lock.write();
        let readers = [0; 3].map(|_| scope.spawn(|| *lock.read()));
        thread::sleep(Duration::from_millis(1));
        *writer = 9;
        let reader = RwLockWriteGuard::downgrade(writer);
        // They are let in beside this one.
        let seen = readers.map(|reader| reader.join().unwrap());
        check!(lock.try_write().is_none(), "a writer beside a reader");
        check_eq!((seen, *reader), ([9; 3], 9), "what the readers saw");
        Ok(())
    })?;
    check!(lock.try_write().is_some(), "somebody is inside still");
    Ok(())
}

/// Time-outs of both kinds meet guards that are dropped; two who do not give up must always get in.
fn readers_and_writers_that_give_up() -> Outcome {
    let lock = Arc::new(RwLock::new(0_u64));
    let stop = Arc::new(AtomicBool::new(false));
    // In vain, and not in vain.
    let outcomes = Arc::new([0; 2].map(AtomicU32::new));
    let impatient: Vec<_> = (0..8)
        .map(|seed| {
            let (lock, stop, outcomes) = (Arc::clone(&lock), Arc::clone(&stop), Arc::clone(&outcomes));
            thread::spawn(move || {
                let (mut dice, mut written) = (Dice::new(seed), 0);
                while !stop.load(Ordering::Acquire) {
                    let timeout = dice.micros(60);
                    let entered = if seed % 2 == 0 {
                        let guard = lock.try_read_for(timeout);
                        let entered = guard.is_some();
                        guard.inspect(|_| thread::sleep(dice.micros(20)));
                        entered
                    } else {
                        let guard = lock.try_write_for(timeout);
                        let entered = guard.is_some();
                        if let Some(mut value) = guard {
                            let seen = *value;
                            thread::sleep(dice.micros(20));
                            *value = seen + 1;
                            written += 1;
                        }
                        entered
                    };
                    outcomes[usize::from(entered)].fetch_add(1, Ordering::Relaxed);
                    thread::sleep(dice.micros(40));
                }
                written
            })
        })
        .collect();
    let patient = [0_u64, 1].map(|kind| {
        let (lock, outcomes) = (Arc::clone(&lock), Arc::clone(&outcomes));
        thread::spawn(move || {
            let mut turns = 0;
            // The others may be slow to begin.
            while turns < 500 || outcomes.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
                if kind == 0 {
                    drop(lock.read())
                } else {
                    *lock.write() += 1
                }
                turns += 1;
            }
            kind * turns
        })
    });
    let mut total: u64 = patient.into_iter().map(|thread| thread.join().unwrap()).sum();
    stop.store(true, Ordering::Release);
    total += impatient.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>();
    check_eq!(*lock.read(), total, "what was written");
    check!(lock.try_write().is_some(), "somebody is inside still");
    Ok(())
}
