//! The reclaimer: who sleeps for long is swept, in batches, and who does not is left alone. Without one nobody sweeps.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide::stack::{self, SWEEPS};
use ebbtide::thread;
use ebbtide::time::Duration;

use crate::harness::Outcome;

tests![
    who_sleeps_for_long_is_swept_with_the_others,
    ; on one CPU:
    who_sleeps_for_less_is_never_swept,
];

/// Threads that sleep.
const COUNT: usize = 100;

fn who_sleeps_for_long_is_swept_with_the_others() -> Outcome {
    let (before, sweeps) = (stack::counters(), stack::sweeps());
    let threads: Vec<_> = (0..COUNT).map(|_| thread::spawn(thread::park)).collect();
    stack::settle();
    let (after, swept) = (stack::counters(), stack::sweeps() - sweeps);
    for thread in threads {
        thread.thread().unpark();
        thread.join().unwrap();
    }
    if !SWEEPS {
        check_eq!(swept, 0, "sweeps without a reclaimer");
        return Ok(());
    }
    check!(swept >= 2, "{swept} sweeps");
    let freed = after.cache.pages_freed - before.cache.pages_freed;
    check!(freed >= 3 * COUNT as u64, "{freed} pages of {COUNT} stacks were freed");
    // One for each batch, and some for threads that have ended before.
    let shootdowns = after.shootdowns - before.shootdowns;
    check!(shootdowns * 10 <= freed, "{shootdowns} shootdowns for {freed} pages");
    Ok(())
}

/// Shorter than the time between two sweeps.
const NAP: Duration = Duration::from_millis(10);

fn who_sleeps_for_less_is_never_swept() -> Outcome {
    static AWAKE: AtomicUsize = AtomicUsize::new(0);
    static COUNTED: AtomicBool = AtomicBool::new(false);
    AWAKE.store(COUNT, Ordering::Release);
    COUNTED.store(false, Ordering::Release);
    let (before, sweeps) = (stack::counters(), stack::sweeps());
    let threads: Vec<_> = (0..COUNT)
        .map(|_| {
            thread::spawn(|| {
                (0..50).for_each(|_| thread::sleep(NAP));
                AWAKE.fetch_sub(1, Ordering::AcqRel);
                // What is counted is no thread's end.
                while !COUNTED.load(Ordering::Acquire) {
                    thread::sleep(NAP);
                }
            })
        })
        .collect();
    // So does this one.
    while AWAKE.load(Ordering::Acquire) > 0 {
        thread::sleep(NAP);
    }
    let (after, swept) = (stack::counters(), stack::sweeps() - sweeps);
    COUNTED.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    if !SWEEPS {
        check_eq!(swept, 0, "sweeps without a reclaimer");
        return Ok(());
    }
    check!(swept >= 3, "{swept} sweeps");
    check_eq!(after.cache.pages_rested - before.cache.pages_rested, 0, "pages that were rested");
    Ok(())
}
