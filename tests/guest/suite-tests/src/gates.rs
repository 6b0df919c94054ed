//! `Semaphore`, `Barrier`, `Once`, `OnceLock` and `LazyLock`.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use ebbtide::sync::{Barrier, LazyLock, Once, OnceLock, Semaphore};
use ebbtide::thread::{self, Builder, Priority};
use ebbtide::time::{Duration, Instant};

use crate::harness::{Dice, Outcome, failed, wait_until};
use crate::schedule::Log;

tests![
    a_semaphore_lets_in_as_many_as_it_has_permits,
    permits_and_time_outs_meet,
    a_barrier_opens_when_all_have_come,
    a_barrier_of_one_never_waits,
    once_is_once,
    a_once_lock_is_set_once,
    a_once_lock_can_be_waited_for,
    a_lazy_value_is_made_by_the_first_access,
    ; on one CPU:
    permits_are_taken_in_order,
];

fn a_semaphore_lets_in_as_many_as_it_has_permits() -> Outcome {
    let permits = Semaphore::new(3);
    let (inside, most, rounds) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(60) {
                    permits.acquire();
                    most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::Relaxed);
                    permits.release();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    check_eq!(most.into_inner(), 3, "most threads that were inside together");
    check_eq!(permits.available(), 3, "permits at the end");
    check!(permits.try_acquire() && permits.try_acquire() && permits.try_acquire(), "permits that cannot be taken");
    check!(!permits.try_acquire(), "a fourth permit");
    check!(rounds.into_inner() >= 12, "not all of them were inside");
    Ok(())
}

fn permits_are_taken_in_order() -> Outcome {
    let permits = Semaphore::new(0);
    let (log, waiting) = (Log::new(8), Log::new(8));
    thread::scope(|scope| {
        for n in 0..8 {
            let (permits, log, waiting) = (&permits, &log, &waiting);
            // Above this thread: each runs from its note into the queue, without a time slice that ends in between.
            let above = Builder::new().priority(Priority::MAX);
            let waiter = above.spawn_scoped(scope, move || {
                waiting.note(n);
                permits.acquire();
                log.note(n);
            });
            waiter.map_err(failed("spawn"))?;
        }
        check_eq!(waiting.len(), 8, "threads that came");
        for gone in 1..=8 {
            permits.release();
            wait_until("nobody took the permit", || log.len() == gone)?;
        }
        Ok::<_, alloc::string::String>(())
    })?;
    check_eq!(log.read().len(), 8, "permits taken");
    check_eq!(log.read(), waiting.read(), "the order of taking, and that of coming");
    Ok(())
}

/// One permit in each round, offered when the time of those is up who wait for a while only. Behind them waits one who
/// has all the time: if a wake-up is spent on a thread that goes without the permit, the permit stays, and all wait.
fn permits_and_time_outs_meet() -> Outcome {
    const ROUNDS: u32 = 400;
    const IMPATIENT: u64 = 4;
    let [permits, begin, begin_last, taken, ended] = [const { Semaphore::new(0) }; 5];
    let by_others = AtomicU32::new(0);
    let first_takers = thread::scope(|scope| {
        for seed in 0..IMPATIENT {
            let (permits, begin, taken, ended, by_others) = (&permits, &begin, &taken, &ended, &by_others);
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                for _ in 0..ROUNDS {
                    begin.acquire();
                    if permits.acquire_timeout(dice.micros(80)) {
                        by_others.fetch_add(1, Ordering::Relaxed);
                        taken.release();
                    }
                    ended.release();
                }
            });
        }
        // Below them, it comes last.
        let last = Builder::new().priority(Priority::MIN).spawn_scoped(scope, || {
            for _ in 0..ROUNDS {
                begin_last.acquire();
                permits.acquire();
                taken.release();
            }
        });
        last.map_err(failed("spawn"))?;
        // Above them, it is there when their timers are; some of the time it keeps the CPU from them until it has offered.
        let conductor = Builder::new().priority(Priority::MAX).spawn_scoped(scope, || {
            let (mut dice, mut first_takers) = (Dice::new(99), [0; 2]);
            for round in 0..ROUNDS {
                let before = by_others.load(Ordering::Relaxed);
                (0..IMPATIENT).for_each(|_| begin.release());
                begin_last.release();
                let all_end = || (0..IMPATIENT).for_each(|_| ended.acquire());
                match round % 4 {
                    // Before they can wait; and when all of them have given up.
                    0 => {}
                    1 => all_end(),
                    _ => thread::sleep(dice.micros(60)),
                }
                let (start, wait) = (Instant::now(), dice.micros(60));
                while round % 4 == 3 && start.elapsed() < wait {
                    core::hint::spin_loop();
                }
                permits.release();
                taken.acquire();
                if round % 4 != 1 {
                    all_end();
                }
                let by_last = by_others.load(Ordering::Relaxed) == before;
                if !by_last {
                    // The last one waits still, now alone.
                    permits.release();
                    taken.acquire();
                }
                first_takers[usize::from(by_last)] += 1;
            }
            first_takers
        });
        Ok::<_, alloc::string::String>(conductor.map_err(failed("spawn"))?.join().unwrap())
    })?;
    check!(first_takers.iter().all(|count| *count > 0), "all permits were taken by one kind: {first_takers:?}");
    check_eq!(by_others.into_inner(), first_takers[0], "permits taken in time");
    check_eq!([permits, begin, begin_last, taken, ended].map(|all| all.available()), [0; 5], "permits left over");
    Ok(())
}

fn a_barrier_opens_when_all_have_come() -> Outcome {
    const THREADS: u32 = 9;
    const ROUNDS: u32 = 100;
    let barrier = Barrier::new(THREADS as usize);
    let (arrived, leaders) = (AtomicU32::new(0), AtomicU32::new(0));
    let early = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                let (barrier, arrived, leaders) = (&barrier, &arrived, &leaders);
                scope.spawn(move || {
                    let (mut dice, mut early) = (Dice::new(seed.into()), 0_u32);
                    for round in 1..=ROUNDS {
                        if dice.below(3) == 0 {
                            thread::sleep(dice.micros(30));
                        }
                        arrived.fetch_add(1, Ordering::AcqRel);
                        leaders.fetch_add(barrier.wait().is_leader().into(), Ordering::Relaxed);
                        early += u32::from(arrived.load(Ordering::Acquire) < round * THREADS);
                    }
                    early
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
    });
    check_eq!(early, 0, "passes before all had come");
    check_eq!(leaders.into_inner(), ROUNDS, "leaders, one in each round");
    Ok(())
}

fn a_barrier_of_one_never_waits() -> Outcome {
    for n in 0..2 {
        let barrier = Barrier::new(n);
        check!(barrier.wait().is_leader() && barrier.wait().is_leader(), "a barrier for {n}");
    }
    Ok(())
}

fn once_is_once() -> Outcome {
    let once = Once::new();
    let (runs, late) = (AtomicU32::new(0), AtomicU32::new(0));
    check!(!once.is_completed(), "it is done before anybody has come");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                once.call_once(|| {
                    thread::sleep(Duration::from_millis(2));
                    runs.fetch_add(1, Ordering::Relaxed);
                });
                late.fetch_add(runs.load(Ordering::Relaxed), Ordering::Relaxed);
            });
        }
        once.wait();
        late.fetch_add(runs.load(Ordering::Relaxed), Ordering::Relaxed);
    });
    check_eq!((runs.into_inner(), late.into_inner()), (1, 9), "runs, and threads that saw that one");
    check!(once.is_completed(), "it is not done");
    Ok(())
}

fn a_once_lock_is_set_once() -> Outcome {
    static LOCK: OnceLock<u64> = OnceLock::new();
    let made = AtomicU32::new(0);
    let found: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let made = &made;
                scope.spawn(move || {
                    *LOCK.get_or_init(|| {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                        n
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    check_eq!(made.into_inner(), 1, "values made");
    check!(found.iter().all(|value| Some(value) == LOCK.get()), "different values: {found:?}");
    check_eq!(LOCK.set(77), Err(77), "setting it again");
    let mut own = OnceLock::new();
    check_eq!((own.get(), own.set(1), own.set(2)), (None, Ok(()), Err(2)), "a lock of one's own");
    check_eq!((own.clone().into_inner(), own.take(), own.get()), (Some(1), Some(1), None), "its value");
    check_eq!(
        (own.set(3), own.get_mut().map(|value| *value), OnceLock::from(3) == own),
        (Ok(()), Some(3), true),
        "again"
    );
    Ok(())
}

fn a_once_lock_can_be_waited_for() -> Outcome {
    let lock = OnceLock::new();
    let sum: u32 = thread::scope(|scope| {
        let threads = [0; 6].map(|_| scope.spawn(|| *lock.wait()));
        thread::sleep(Duration::from_millis(1));
        let _ = lock.set(7);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    check_eq!(sum, 42, "what six threads waited for");
    Ok(())
}

fn a_lazy_value_is_made_by_the_first_access() -> Outcome {
    static MADE: AtomicU32 = AtomicU32::new(0);
    static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| {
        MADE.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
        (0..10).collect()
    });
    check_eq!(MADE.load(Ordering::Relaxed), 0, "values made before the first access");
    let sum: u32 = thread::scope(|scope| {
        let threads = [0; 8].map(|_| scope.spawn(|| TABLE.iter().sum::<u32>()));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    check_eq!((sum, MADE.load(Ordering::Relaxed)), (8 * 45, 1), "what eight threads saw, and values made");
    let word = alloc::string::String::from("tide");
    let own = LazyLock::new(move || word.len());
    check_eq!((*own, *LazyLock::force(&own)), (4, 4), "a value of one's own, twice");
    Ok(())
}
