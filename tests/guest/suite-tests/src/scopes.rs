//! Scoped threads, and what a thread knows of itself.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::stack;
use ebbtide::thread::{self, Builder};
use ebbtide::time::{Duration, Instant};

use crate::harness::{Outcome, ask, failed, within_a_minute};

tests![
    scoped_threads_borrow_their_spawners_stack,
    a_scope_waits_for_threads_without_a_handle,
    scoped_threads_spawn_into_their_scope,
    scoped_results_may_borrow,
    many_scopes_come_and_go,
    a_scoped_thread_has_what_its_builder_says,
    a_handle_tells_when_its_thread_has_finished,
    sleep_until_waits_for_its_point,
];

fn scoped_threads_borrow_their_spawners_stack() -> Outcome {
    const SWITCHES: u64 = 16;
    let switches = || stack::counters().cache.switches;
    let (start, before) = (Instant::now(), switches());
    // On this thread's stack: the others write it while this one sleeps.
    let mut sums = [0_u64; 8];
    let factor = 3_u64;
    thread::scope(|scope| {
        for (n, sum) in (1..).zip(&mut sums) {
            let factor = &factor;
            scope.spawn(move || {
                // Beyond two time slices, with a sleep now and then.
                for round in 0.. {
                    let enough = switches() - before >= SWITCHES || !within_a_minute(start);
                    if start.elapsed() > Duration::from_millis(25) && enough {
                        break;
                    }
                    *sum = n * factor + round;
                    if round % 64 == 0 {
                        thread::sleep(Duration::from_micros(50));
                    }
                    if *sum != n * factor + round {
                        *sum = u64::MAX;
                        return;
                    }
                }
                *sum = n * factor;
            });
        }
    });
    let expected: Vec<u64> = (1..=8).map(|n| n * factor).collect();
    check_eq!(sums.as_slice(), expected.as_slice(), "what the threads left");
    check!(switches() - before >= SWITCHES, "nobody was switched out meanwhile");
    Ok(())
}

fn a_scope_waits_for_threads_without_a_handle() -> Outcome {
    let ended = AtomicU32::new(0);
    let result = thread::scope(|scope| {
        for n in 0..12 {
            drop(scope.spawn({
                let ended = &ended;
                move || {
                    thread::sleep(Duration::from_micros(500 * n));
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        "ebb"
    });
    check_eq!(ended.load(Ordering::Relaxed), 12, "threads that had ended when the scope did");
    check_eq!(result, "ebb", "the scope's result");
    check_eq!(thread::scope(|_| 7), 7, "the result of a scope without threads");
    Ok(())
}

fn scoped_threads_spawn_into_their_scope() -> Outcome {
    let count = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        thread::yield_now();
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    check_eq!(count.load(Ordering::Relaxed), 12, "threads of both generations");
    Ok(())
}

/// Counts itself when it ends, after a while.
struct Late<'a>(&'a AtomicU32);

impl Drop for Late<'_> {
    fn drop(&mut self) {
        thread::sleep(Duration::from_micros(300));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn scoped_results_may_borrow() -> Outcome {
    let words = ["spring", "neap", "king"];
    let longest = thread::scope(|scope| {
        let handles: Vec<_> = words.iter().map(|word| scope.spawn(move || (word.len(), *word))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).max()
    });
    check_eq!(longest, Some((6, "spring")), "the longest word");
    let ended = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            drop(scope.spawn(|| Late(&ended)));
        }
    });
    check_eq!(ended.load(Ordering::Relaxed), 4, "results that had ended when the scope did");
    Ok(())
}

fn many_scopes_come_and_go() -> Outcome {
    let mut total = 0_u32;
    for round in 0..150 {
        let counted = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    counted.fetch_add(round, Ordering::Relaxed);
                });
            }
        });
        total += counted.into_inner();
    }
    check_eq!(total, 4 * (0..150).sum::<u32>(), "what all scopes counted");
    Ok(())
}

/// 1, from the bottom of a frame of 20 KiB.
#[inline(never)]
fn a_byte_deep_down() -> u8 {
    black_box([1_u8; 20 << 10])[9]
}

fn a_scoped_thread_has_what_its_builder_says() -> Outcome {
    let found = thread::scope(|scope| {
        let builder = Builder::new().name("moon".into()).stack_size(32 << 10);
        let handle = builder.spawn_scoped(scope, || {
            ask(24 << 10);
            let me = thread::current();
            (me.name().map(ToString::to_string), me.id(), a_byte_deep_down())
        });
        let handle = handle.map_err(failed("spawn"))?;
        let outside = (handle.thread().name().map(ToString::to_string), handle.thread().id());
        Ok::<_, alloc::string::String>((handle.join().unwrap(), outside))
    });
    let ((name, id, deep), outside) = found?;
    check_eq!(name.as_deref(), Some("moon"), "the name inside");
    check_eq!((name, id), outside, "name and id, inside and outside");
    // With 16 KiB of stack the run would have ended.
    check_eq!(deep, 1, "a byte deep in its stack");
    check_eq!(thread::current().name(), Some("main"), "the main thread's name");
    check!(
        thread::scope(|scope| Builder::new().stack_size(2 << 20).spawn_scoped(scope, || ()).is_err()),
        "2 MiB of stack"
    );
    Ok(())
}

fn a_handle_tells_when_its_thread_has_finished() -> Outcome {
    let go = AtomicBool::new(false);
    thread::scope(|scope| {
        let handle = scope.spawn(|| {
            while !go.load(Ordering::Acquire) {
                thread::park();
            }
        });
        thread::sleep(Duration::from_millis(1));
        let early = handle.is_finished();
        go.store(true, Ordering::Release);
        handle.thread().unpark();
        handle.join().unwrap();
        check!(!early, "it was finished before it could be");
        Ok(())
    })?;
    let handle = thread::spawn(thread::park);
    thread::sleep(Duration::from_millis(1));
    check!(!handle.is_finished(), "it was finished while it was parked");
    handle.thread().unpark();
    crate::harness::wait_until("it did not finish", || handle.is_finished())?;
    handle.join().unwrap();
    Ok(())
}

fn sleep_until_waits_for_its_point() -> Outcome {
    let point = Instant::now() + Duration::from_millis(2);
    thread::sleep_until(point);
    check!(Instant::now() >= point, "it came back too early");
    // Returns at once; the run would not end otherwise.
    thread::sleep_until(point);
    thread::sleep_until(point - Duration::from_millis(1));
    Ok(())
}
