//! David Laight's scenario: another CPU has read a stack, and its TLB knows the page still when that has gone elsewhere.
//!
//! He described it in the discussion of "Dynamic Kernel Stacks" on the Linux kernel mailing list (March 2024): a thread grows
//! its stack and publishes something that lies there; another CPU touches it; the thread collapses its stack, and the pages are
//! freed; it goes deep again, on other frames; and the other CPU goes by its old translation. Freeing needs a broadcast.
//!
//! The reader never leaves its CPU, and has it for itself (unless there is but one). It reads a value deep in the owner's stack, so often that the
//! translation is cached. Then the owner comes back from there and sleeps, so the page rests, and is freed and used for
//! something else. When the owner is as deep as before, another frame is at that address. A reader with the old
//! translation reads what the old frame holds now.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use core::{array, ptr};

use ebbtide::thread::{self, Builder, CpuSet};
use ebbtide::time::Instant;

use crate::cpus;
use crate::harness::{Outcome, ask, failed, within_a_minute};

tests![a_page_that_was_freed_is_read_by_no_other_cpu, a_thread_keeps_what_it_has_where_the_last_one_was_as_deep];

/// Words that the owner has deep in its stack: all of them on one page, at a place that is the same each time.
const WORDS: usize = 64;

/// How often the owner dives.
const DIVES: u64 = 40;

/// What the owner shows, and what it has there.
struct Shown {
    cell: AtomicPtr<[AtomicU64; WORDS]>,
    /// The number of the dive; the owner has come back when the reader has seen it.
    dive: AtomicU64,
    /// The dive that the reader has seen.
    seen: AtomicU64,
    /// Reads that found another dive's words.
    stale: AtomicU64,
}

fn a_page_that_was_freed_is_read_by_no_other_cpu() -> Outcome {
    let shown = Shown {
        cell: AtomicPtr::new(ptr::null_mut()),
        dive: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        stale: AtomicU64::new(0),
    };
    let start = Instant::now();
    let on = |cpu: usize| Builder::new().affinity(CpuSet::only(cpu as u32)).map_err(failed("a builder that binds"));
    thread::scope(|scope| {
        let shown = &shown;
        let reader = on(cpus::count() - 1)?.spawn_scoped(scope, move || read(shown, start));
        reader.map_err(failed("spawn"))?;
        let owner = on(0)?.stack_size(32 << 10).spawn_scoped(scope, move || own(shown, start));
        owner.map_err(failed("spawn"))?;
        Ok::<_, alloc::string::String>(())
    })?;
    check_eq!(shown.seen.into_inner(), DIVES, "dives that the reader has seen within a minute");
    check_eq!(shown.stale.into_inner(), 0, "words of a frame that is no longer there");
    Ok(())
}

/// Reads what is shown, over and over, until the next dive.
fn read(shown: &Shown, start: Instant) {
    #![expect(unsafe_code, reason = "looks into another thread's stack, as a scoped thread would")]

    for dive in 1..=DIVES {
        while shown.dive.load(Ordering::Acquire) != dive {
            if !within_a_minute(start) {
                return;
            }
            thread::yield_now();
        }
        // SAFETY: the owner stays where the words are until it finds this dive seen.
        let words = unsafe { &*shown.cell.load(Ordering::Acquire) };
        for _ in 0..100 {
            let stale = words.iter().filter(|word| word.load(Ordering::Acquire) != dive).count();
            shown.stale.fetch_add(stale as u64, Ordering::AcqRel);
        }
        shown.seen.store(dive, Ordering::Release);
    }
}

fn own(shown: &Shown, start: Instant) {
    ask(32 << 10);
    for dive in 1..=DIVES {
        go_down(24, shown, dive, start);
        // The words' page is below the stack pointer now: it rests, and with the CPU idle it is freed. The next threads
        // take the frame, and write all over it.
        thread::sleep(Duration::from_millis(1));
        let used: [_; 4] = array::from_fn(|_| thread::spawn(overwrite));
        used.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[inline(never)]
fn go_down(depth: u32, shown: &Shown, dive: u64, start: Instant) {
    let frame = black_box([0_u8; 512]);
    if depth > 0 {
        go_down(depth - 1, shown, dive, start);
    } else {
        let words: [AtomicU64; WORDS] = array::from_fn(|_| AtomicU64::new(dive));
        shown.cell.store(ptr::from_ref(black_box(&words)).cast_mut(), Ordering::Release);
        shown.dive.store(dive, Ordering::Release);
        while shown.seen.load(Ordering::Acquire) != dive && within_a_minute(start) {
            thread::yield_now();
        }
    }
    black_box(frame);
}

/// Fills a stack with what no dive ever writes.
fn overwrite() {
    fn fill(depth: u32) {
        let frame = black_box([u64::MAX; 64]);
        if depth > 0 {
            fill(depth - 1);
        }
        black_box(frame);
    }
    ask(16 << 10);
    fill(11);
}

/// More threads than leave their stacks to the next ones with all pages: those of the others rest.
const CROWD: usize = 24;

/// Stacks that serve other threads, before anybody has freed what rests there: a thread that runs without these pages must not be
/// able to use them by what its CPU knows of the last thread. It would lose them to the next one that frees what rests.
fn a_thread_keeps_what_it_has_where_the_last_one_was_as_deep() -> Outcome {
    let no_one = || ();
    check_eq!(in_a_crowd(&no_one), 0, "canaries that were changed under the first threads");
    // Once this CPU is idle, it frees what rests; and the frames are written all over.
    let others = || {
        thread::sleep(Duration::from_millis(1));
        let used: [_; 4] = array::from_fn(|_| thread::spawn(overwrite));
        used.into_iter().for_each(|thread| thread.join().unwrap());
    };
    check_eq!(in_a_crowd(&others), 0, "canaries that were changed under the next ones");
    Ok(())
}

/// Threads that are deep in their stacks all at once, while `others` do something. Returns how many of their canaries were changed.
fn in_a_crowd(others: &dyn Fn()) -> usize {
    let (deep, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let body = || {
            ask(14 << 10);
            cpus::at_depth(20, &mut || {
                deep.fetch_add(1, Ordering::AcqRel);
                while !over.load(Ordering::Acquire) {
                    thread::park();
                }
            })
        };
        let threads: [_; CROWD] = array::from_fn(|_| scope.spawn(body));
        while deep.load(Ordering::Acquire) < CROWD {
            thread::yield_now();
        }
        others();
        over.store(true, Ordering::Release);
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}
