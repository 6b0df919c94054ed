//! A stack that is shrunk while its thread still runs on it: what is kept, and when nothing goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::thread::{Builder, JoinHandle, Priority, park, yield_now};
use ebbtide_machine::tamper::{own_page, read, write};
use ebbtide_machine::{Host, Plan, cache_counters, counts, deeper, empty_cache, room, settle, sleep, work};
use ebbtide_policy_reclaim_before_switch::ReclaimBeforeSwitch;

use super::exhaustion::{give_back, hoard};

type S = Host<ReclaimBeforeSwitch>;

/// A thread that does `work`, and where its top page lies.
fn spawn(builder: Builder, work: impl FnOnce() + Send + 'static) -> (JoinHandle<S, ()>, u64) {
    let top = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&top);
    let thread = builder.spawn::<S, _, _>(move || {
        theirs.store(own_page(0), Ordering::Relaxed);
        work();
    });
    while top.load(Ordering::Relaxed) == 0 {
        yield_now::<S>();
    }
    (thread.unwrap(), top.load(Ordering::Relaxed))
}

fn present(top: u64) -> usize {
    (0..4).filter(|page| matches!(read(top - page * PAGE_BYTES), StackEntry::Present { .. })).count()
}

/// Beside its live pages it keeps the page that the kilobyte below them reaches.
#[test]
fn a_sleeper_keeps_what_the_switch_may_have_reached() {
    for (depth, kept) in [(100, 1), (2_900, 1), (3_100, 2), (PAGE_BYTES, 2), (2 * PAGE_BYTES - 900, 3), (12_300, 4)] {
        let run = Plan::new(1).run::<S>(move || {
            let (thread, top) = spawn(Builder::new(), move || deeper(depth, park::<S>));
            assert_eq!(present(top), kept, "{depth} bytes deep");
            thread.thread().unpark();
            thread.join().unwrap();
            settle::<S>();
        });
        run.unwrap();
    }
}

#[test]
fn a_thread_that_ends_keeps_its_pages_for_the_next_one() {
    let run = Plan::new(1).run::<S>(|| {
        let (thread, top) = spawn(Builder::new(), || deeper(9_000, park::<S>));
        thread.thread().unpark();
        thread.join().unwrap();
        assert_eq!(present(top), 4);
        settle::<S>();
    });
    run.unwrap();
}

#[test]
fn an_always_populated_stack_loses_no_page() {
    let run = Plan::new(1).run::<S>(|| {
        let (thread, top) = spawn(Builder::new().always_populated(), park::<S>);
        sleep::<S>(1_000_000);
        assert_eq!(present(top), 4);
        thread.thread().unpark();
        thread.join().unwrap();
    });
    run.unwrap();
}

/// Nobody else is ready, or who is lacks frames that there are not: then who yields goes on, with all that it has.
#[test]
fn a_thread_that_goes_on_loses_no_page() {
    let run = Plan::new(1).run::<S>(|| {
        let before = counts();
        yield_now::<S>();
        assert_eq!(counts(), before);
        let (thread, top) = spawn(Builder::new(), park::<S>);
        deeper(room(), || {
            let mut hoarded = hoard::<S>(0);
            // It is refused, and before that all that rests is freed.
            assert!(Builder::new().spawn::<S, _, _>(|| ()).is_err());
            empty_cache::<S>();
            hoarded.extend(hoard::<S>(0));
            assert_eq!(present(top), 1);
            let parked = cache_counters::<S>().parked;
            thread.thread().unpark();
            yield_now::<S>();
            assert_eq!(cache_counters::<S>().parked, parked + 1);
            give_back::<S>(hoarded);
        });
        sleep::<S>(1_000_000);
        thread.join().unwrap();
        settle::<S>();
    });
    run.unwrap();
}

/// Frames come free, and a thread that is preempted for that steps aside, and keeps its pages meanwhile: under an audit, which
/// knows that.
#[test]
fn a_thread_that_steps_aside_loses_no_page() {
    type Audited = Host<ReclaimBeforeSwitch, 20, true>;
    let run = Plan::new(1).step_ns(10_000).run::<Audited>(|| {
        let done = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&done);
        let urgent = Builder::new().priority(Priority::new(20).unwrap());
        let thread = urgent.spawn::<Audited, _, _>(move || {
            park::<Audited>();
            theirs.store(true, Ordering::Relaxed);
        });
        let thread = thread.unwrap();
        deeper(room(), || {
            let mut hoarded = hoard::<Audited>(0);
            assert!(Builder::new().spawn::<Audited, _, _>(|| ()).is_err());
            empty_cache::<Audited>();
            hoarded.extend(hoard::<Audited>(0));
            thread.thread().unpark();
            assert!(!done.load(Ordering::Relaxed), "it ran without a frame");
            give_back::<Audited>(hoarded);
            while !done.load(Ordering::Relaxed) {
                work(10);
            }
        });
        let Ok(()) = thread.join();
        settle::<Audited>();
    });
    run.unwrap();
}

/// The machine's own check, seen to fire.
#[test]
fn a_page_that_goes_while_its_thread_goes_on_is_found() {
    let run = Plan::new(1).run::<S>(|| {
        let page = own_page(5);
        let StackEntry::Present { frame } = read(page) else { panic!("a running thread's page is not there") };
        write(page, StackEntry::Resting { frame, generation: 1 << 10 });
    });
    run.broken("a page went of the stack on which CPU 0 runs");
}
