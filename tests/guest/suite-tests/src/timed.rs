//! Waits with a time-out that std does not have: for a thread's end, at a `Barrier`, for a `OnceLock`.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::sync::{Barrier, OnceLock};
use ebbtide::thread::{self, Builder, Priority};
use ebbtide::time::{Duration, Instant};

use crate::harness::{Dice, Outcome, failed};

tests![
    a_join_may_give_up,
    barriers_and_time_outs_meet,
    a_once_lock_is_waited_for_no_longer_than_asked,
    ; on one CPU:
    a_barrier_is_left_by_who_gives_up,
];

const SOON: Duration = Duration::from_millis(2);
const NEVER: Duration = Duration::from_secs(3_600);

fn a_join_may_give_up() -> Outcome {
    let go = &AtomicBool::new(false);
    thread::scope(|scope| {
        let wait = || {
            while !go.load(Ordering::Acquire) {
                thread::park();
            }
            7
        };
        let start = Instant::now();
        let result = scope.spawn(wait).join_timeout(SOON);
        let handle = result.err().ok_or("it was joined before it had ended");
        let waited = start.elapsed();
        go.store(true, Ordering::Release);
        let handle = handle?;
        handle.thread().unpark();
        check!(waited >= SOON, "it gave up after {waited:?}");
        check_eq!(handle.join_timeout(NEVER).ok(), Some(7), "the result in time");
        Ok(())
    })?;
    // A thread outside of a scope. It ends while the other waits for it.
    let handle = thread::spawn(|| {
        thread::park();
        thread::sleep(SOON);
    });
    let handle = handle.join_timeout(SOON / 2).err().ok_or("it was joined before it had ended")?;
    handle.thread().unpark();
    check!(handle.join_timeout(NEVER).is_ok(), "it did not end in time");
    Ok(())
}

fn a_barrier_is_left_by_who_gives_up() -> Outcome {
    let barrier = Barrier::new(2);
    let start = Instant::now();
    check!(barrier.wait_timeout(SOON).is_none(), "it opened for one");
    check!(start.elapsed() >= SOON, "it gave up after {:?}", start.elapsed());
    // Had it counted still, the first of these would pass alone. It has a higher priority, so it is there first.
    let leaders = thread::scope(|scope| {
        let above = Builder::new().priority(Priority::MAX);
        let first = above.spawn_scoped(scope, || barrier.wait_timeout(NEVER)).map_err(failed("spawn"))?;
        let early = first.is_finished();
        let second = barrier.wait_timeout(NEVER);
        let first = first.join().unwrap();
        let leaders = [first, second].map(|result| result.map(|result| result.is_leader()));
        Ok::<_, alloc::string::String>((early, leaders))
    })?;
    check_eq!(leaders, (false, [Some(false), Some(true)]), "whether one passed alone, and who led");
    Ok(())
}

/// Threads that wait for a while only come to a barrier for two, and some who have all the time: it opens for two each
/// time, however many came and went.
fn barriers_and_time_outs_meet() -> Outcome {
    let barrier = Barrier::new(2);
    let (passed, led, in_vain) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let come = |timeout| match barrier.wait_timeout(timeout) {
        Some(result) => {
            passed.fetch_add(1, Ordering::Relaxed);
            led.fetch_add(result.is_leader().into(), Ordering::Relaxed);
        }
        None => {
            in_vain.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for seed in 0..5 {
            let come = &come;
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                for _ in 0..300 {
                    come(dice.micros(40));
                    thread::sleep(dice.micros(60));
                }
            });
        }
    });
    let (passed, led) = (passed.into_inner(), led.into_inner());
    check!(passed > 0 && in_vain.into_inner() > 0, "all were in vain, or none");
    check_eq!(passed, 2 * led, "those who passed, two for each that led");
    Ok(())
}

fn a_once_lock_is_waited_for_no_longer_than_asked() -> Outcome {
    let lock = OnceLock::new();
    let start = Instant::now();
    check_eq!(lock.wait_timeout(SOON), None, "a value that nobody set");
    check!(start.elapsed() >= SOON, "it gave up after {:?}", start.elapsed());
    let found = thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.wait_timeout(NEVER).copied());
        thread::sleep(SOON / 2);
        let _ = lock.set(5);
        waiter.join().unwrap()
    });
    check_eq!((found, lock.wait_timeout(Duration::ZERO)), (Some(5), Some(&5)), "the value");
    Ok(())
}
