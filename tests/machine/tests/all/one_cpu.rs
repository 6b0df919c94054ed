//! One CPU: what each thing that happens to a thread does to the pages of its stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ebbtide_core::System;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::memory::layout::STACK_CLASS_BYTES;
use ebbtide_core::sync::Mutex;
use ebbtide_core::thread::{Builder, JoinHandle, current, park, yield_now};
use ebbtide_machine::tamper::{own_page, read};
use ebbtide_machine::{
    Host, Plan, cache_counters, counts, deeper, resting_pages, run_down, settle, sleep, spurious_faults, work,
};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;
use ebbtide_policy_static::Static;

type Reclaiming = Host<ReclaimOnSleep>;

/// Pages of the default stack.
const PAGES: u64 = 4;

fn spawn<S: System, T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<S, T> {
    Builder::new().spawn::<S, _, _>(f).unwrap()
}

/// A thread that parks at `depth`, and where its top page lies.
fn parked<S: System>(depth: u64) -> (JoinHandle<S, ()>, u64) {
    let top = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&top);
    let thread = spawn::<S, _>(move || {
        theirs.store(own_page(0), Ordering::Relaxed);
        deeper(depth, park::<S>);
    });
    while top.load(Ordering::Relaxed) == 0 {
        yield_now::<S>();
    }
    (thread, top.load(Ordering::Relaxed))
}

fn entries(top_page: u64, pages: u64) -> Vec<StackEntry> {
    (0..pages).map(|page| read(top_page - page * PAGE_BYTES)).collect()
}

fn present(top_page: u64, pages: u64) -> usize {
    let entries = entries(top_page, pages);
    entries.iter().filter(|entry| matches!(entry, StackEntry::Present { .. })).count()
}

fn resting(top_page: u64, pages: u64) -> usize {
    let entries = entries(top_page, pages);
    entries.iter().filter(|entry| matches!(entry, StackEntry::Resting { .. })).count()
}

#[test]
fn a_shallow_sleeper_keeps_its_top_page_and_the_rest_rests() {
    let run = Plan::new(1).run::<Reclaiming>(|| {
        let (thread, top) = parked::<Reclaiming>(100);
        assert_eq!((present(top, PAGES), resting(top, PAGES)), (1, 3));
        thread.thread().unpark();
        thread.join().unwrap();
        settle::<Reclaiming>();
    });
    run.unwrap();
}

#[test]
fn a_sleeper_keeps_every_page_that_it_has_gone_down_to() {
    for (depth, kept) in [(PAGE_BYTES - 200, 1), (PAGE_BYTES, 2), (2 * PAGE_BYTES, 3), (3 * PAGE_BYTES, 4)] {
        let run = Plan::new(1).run::<Reclaiming>(move || {
            let (thread, top) = parked::<Reclaiming>(depth);
            assert_eq!(present(top, PAGES), kept, "{depth} bytes deep");
            thread.thread().unpark();
            thread.join().unwrap();
        });
        run.unwrap();
    }
}

#[test]
fn under_static_a_sleeper_keeps_everything_and_no_switch_writes_an_entry() {
    let run = Plan::new(1).run::<Host<Static>>(|| {
        let (thread, top) = parked::<Host<Static>>(100);
        let before = counts();
        assert_eq!(present(top, PAGES), 4);
        thread.thread().unpark();
        thread.join().unwrap();
        assert_eq!(counts(), before);
        settle::<Host<Static>>();
    });
    run.unwrap();
}

#[test]
fn what_rested_comes_back_with_its_own_frames_and_without_an_invalidation() {
    let run = Plan::new(1).run::<Reclaiming>(|| {
        let seen = Arc::new(Mutex::<Reclaiming, _>::new(Vec::new()));
        let theirs = Arc::clone(&seen);
        let thread = spawn::<Reclaiming, _>(move || {
            for _ in 0..3 {
                theirs.lock().push(entries(own_page(0), PAGES));
                yield_now::<Reclaiming>();
            }
        });
        for _ in 0..3 {
            yield_now::<Reclaiming>();
        }
        thread.join().unwrap();
        let seen = seen.lock();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|entries| *entries == seen[0]));
        assert_eq!(counts().1, 0);
    });
    run.unwrap();
}

#[test]
fn an_idle_cpu_frees_what_rests_and_keeps_what_the_next_switch_may_need() {
    let run = Plan::new(1).run::<Reclaiming>(|| {
        let (thread, top) = parked::<Reclaiming>(100);
        sleep::<Reclaiming>(1_000_000);
        assert_eq!(entries(top, PAGES)[1..], [StackEntry::Empty; 3]);
        settle::<Reclaiming>();
        thread.thread().unpark();
        thread.join().unwrap();
        settle::<Reclaiming>();
    });
    assert!(run.unwrap().invalidations > 0);
}

#[test]
fn a_ring_that_is_full_of_what_rests_frees_the_oldest() {
    let run = Plan::new(1).frames(4096).run::<Reclaiming>(|| {
        let threads: Vec<_> = (0..300).map(|_| parked::<Reclaiming>(100)).collect();
        let emptied = threads.iter().filter(|(_, top)| read(top - PAGE_BYTES) == StackEntry::Empty).count();
        assert!((128..=256).contains(&emptied), "{emptied} stacks gave their frames");
        let first = |n: usize| read(threads[n].1 - PAGE_BYTES);
        assert_eq!(first(0), StackEntry::Empty, "the oldest");
        assert!(matches!(first(299), StackEntry::Resting { .. }), "not the youngest");
        for (thread, _) in threads {
            thread.thread().unpark();
            thread.join().unwrap();
        }
        settle::<Reclaiming>();
    });
    run.unwrap();
}

#[test]
fn a_ring_that_is_full_of_stale_notes_is_compacted_without_an_invalidation() {
    let run = Plan::new(1).frames(4096).run::<Reclaiming>(|| {
        // Each rests once, and then goes down to where nothing rests any more.
        let sleepers: Vec<_> = (0..240)
            .map(|_| {
                spawn::<Reclaiming, _>(|| {
                    park::<Reclaiming>();
                    deeper(3 * PAGE_BYTES, park::<Reclaiming>);
                })
            })
            .collect();
        yield_now::<Reclaiming>();
        sleepers.iter().for_each(|thread| thread.thread().unpark());
        yield_now::<Reclaiming>();
        let more: Vec<_> = (0..100).map(|_| parked::<Reclaiming>(100)).collect();
        assert_eq!(counts().1, 0, "invalidations");
        assert!(more.iter().all(|(_, top)| resting(*top, PAGES) == 3));
    });
    run.unwrap();
}

#[test]
fn an_idle_cpu_leaves_nothing_resting_however_often_its_ring_was_full() {
    let run = Plan::new(1).frames(4096).run::<Reclaiming>(|| {
        let sleepers: Vec<_> = (0..300)
            .map(|number| {
                spawn::<Reclaiming, _>(move || {
                    // Once as deep, once as shallow as may be: the notes of the first rest are stale in part.
                    deeper(number % 3 * PAGE_BYTES, park::<Reclaiming>);
                    park::<Reclaiming>();
                })
            })
            .collect();
        yield_now::<Reclaiming>();
        sleepers.iter().step_by(2).for_each(|thread| thread.thread().unpark());
        yield_now::<Reclaiming>();
        assert!(resting_pages() > 0);
        sleep::<Reclaiming>(1_000_000);
        assert_eq!(resting_pages(), 0, "pages that no note names any more");
        settle::<Reclaiming>();
    });
    run.unwrap();
}

#[test]
fn a_switch_to_a_thread_that_lacks_frames_refills_the_cache_first() {
    let run = Plan::new(1).cache(16).run::<Reclaiming>(|| {
        let before = cache_counters::<Reclaiming>();
        let threads: Vec<_> = (0..12).map(|_| parked::<Reclaiming>(3 * PAGE_BYTES)).collect();
        let after = cache_counters::<Reclaiming>();
        assert!(after.refills - before.refills >= 3, "12 stacks of 4 pages came out of a cache of 16");
        assert_eq!(after.refills_failed, before.refills_failed);
        assert!(threads.iter().all(|(_, top)| present(*top, PAGES) == 4));
    });
    run.unwrap();
}

#[test]
fn the_stack_of_a_thread_that_ended_serves_the_next_one_as_it_is() {
    let run = Plan::new(1).run::<Reclaiming>(|| {
        let first = spawn::<Reclaiming, _>(|| own_page(0));
        let first = first.join().unwrap();
        yield_now::<Reclaiming>();
        let before = counts();
        let again = spawn::<Reclaiming, _>(|| own_page(0)).join().unwrap();
        assert_eq!(again, first);
        // Main's own pages rest and come back meanwhile; the stack's do not change.
        assert_eq!(counts().1, before.1, "invalidations");
        assert_eq!(present(first, PAGES), 4);
        settle::<Reclaiming>();
    });
    run.unwrap();
}

/// Ends more threads than stacks are kept, again and again.
fn stacks_come_and_go<S: System>() {
    let run = Plan::new(1).run::<S>(|| {
        for _ in 0..3 {
            let threads: Vec<_> = (0..30).map(|_| parked::<S>(5_000)).collect();
            for (thread, _) in threads {
                thread.thread().unpark();
                thread.join().unwrap();
            }
            sleep::<S>(1_000_000);
            settle::<S>();
        }
        let highest = spawn::<S, _>(|| own_page(0)).join().unwrap();
        let number = highest % STACK_CLASS_BYTES / (2 * PAGES * PAGE_BYTES);
        assert!(number < 40, "slot {number}: slots were not used again");
    });
    assert!(run.unwrap().invalidations > 0);
}

#[test]
fn stacks_beyond_those_that_are_kept_give_their_frames_back_and_their_slots_are_used_again_under_static() {
    stacks_come_and_go::<Host<Static>>();
}

#[test]
fn stacks_beyond_those_that_are_kept_give_their_frames_back_and_their_slots_are_used_again() {
    stacks_come_and_go::<Reclaiming>();
}

#[test]
fn an_always_populated_stack_loses_no_page() {
    let run = Plan::new(1).run::<Reclaiming>(|| {
        let big = Builder::new().stack_size(128 << 10);
        for (builder, pages) in [(Builder::new().always_populated(), PAGES), (big, 32)] {
            let top = Arc::new(AtomicU64::new(0));
            let theirs = Arc::clone(&top);
            let thread = builder.spawn::<Reclaiming, _, _>(move || {
                theirs.store(own_page(0), Ordering::Relaxed);
                park::<Reclaiming>();
            });
            sleep::<Reclaiming>(1_000_000);
            assert_eq!(present(top.load(Ordering::Relaxed), pages), pages as usize);
            let thread = thread.unwrap();
            thread.thread().unpark();
            thread.join().unwrap();
        }
        settle::<Reclaiming>();
    });
    run.unwrap();
}

#[test]
fn a_thread_that_works_for_too_long_is_preempted_and_its_records_survive() {
    let run = Plan::new(1).step_ns(100_000).run::<Reclaiming>(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        let thread = spawn::<Reclaiming, _>(move || deeper(6_000, || theirs.store(true, Ordering::Relaxed)));
        deeper(20_000, || {
            while !done.load(Ordering::Relaxed) {
                work(1);
            }
        });
        thread.join().unwrap();
    });
    run.unwrap();
}

#[test]
fn going_below_the_stack_is_an_overflow_in_the_threads_name() {
    for bytes in [(16 << 10) + 8, 20 << 10] {
        let run = Plan::new(1).run::<Reclaiming>(move || {
            let builder = Builder::new().name("digger".into());
            let thread = builder.spawn::<Reclaiming, _, _>(move || deeper(bytes, || ())).unwrap();
            thread.join().unwrap();
        });
        let run = run.ended(102, "stack overflow in thread \"digger\"");
        assert!(run.console.contains("policy reclaim-on-sleep") && run.console.contains("4 pages"), "{run}");
    }
}

#[test]
fn a_preemption_for_which_there_is_no_room_above_the_guard_is_an_overflow() {
    let run = Plan::new(1).step_ns(100_000).run::<Reclaiming>(|| {
        let builder = Builder::new().name("digger".into());
        let digger = builder.spawn::<Reclaiming, _, _>(|| run_down(64, || work(10_000))).unwrap();
        let _other = spawn::<Reclaiming, _>(|| work(10_000));
        digger.join().unwrap();
    });
    run.ended(102, "stack overflow in thread \"digger\"");
}

#[test]
fn the_whole_stack_can_be_used() {
    let run = Plan::new(1).run::<Reclaiming>(|| {
        let thread = spawn::<Reclaiming, _>(|| run_down(64, || sleep::<Reclaiming>(1_000)));
        thread.join().unwrap();
    });
    run.unwrap();
}

#[test]
fn a_fault_on_a_page_that_is_there_is_counted_and_tried_again() {
    let run = Plan::new(1).spurious_fault_one_in(3).run::<Reclaiming>(|| {
        deeper(30_000, || ());
        assert!(spurious_faults() > 0);
    });
    run.unwrap();
}

#[test]
fn the_same_plan_gives_the_same_run_and_another_seed_another_one() {
    let run = |seed| {
        let run = Plan::wild(seed, 2).run::<Reclaiming>(|| {
            let thread = spawn::<Reclaiming, _>(|| deeper(5_000, || sleep::<Reclaiming>(1_000_000)));
            let _ = current::<Reclaiming>();
            thread.join().unwrap();
        });
        run.unwrap().steps
    };
    assert_eq!(run(1), run(1));
    assert!((2..20).any(|seed| run(seed) != run(1)));
}
