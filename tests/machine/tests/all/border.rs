//! Exhaustion at the entry from user mode: the thread waits on its top page, and goes on when there are frames; and at the exit,
//! which sets some free.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ebbtide_core::System;
use ebbtide_core::thread::{Builder, Priority, yield_now};
use ebbtide_machine::{
    Host, Outcome, Plan, cache_counters, deeper, empty_cache, in_user_mode, resting_pages, room, settle, sleep, work,
};
use ebbtide_policy_grow_on_entry::GrowOnEntry;

use super::exhaustion::{give_back, hoard};

type S = Host<GrowOnEntry>;

/// Long enough for every thread to do what it can, in nanoseconds.
const SOON: u64 = 50_000_000;

#[test]
fn an_entry_without_frames_waits_for_some() {
    let run = Plan::new(1).step_ns(10_000).run::<S>(|| {
        let [there, over, back] = [(); 3].map(|()| Arc::<AtomicBool>::default());
        let theirs = [&there, &over, &back].map(Arc::clone);
        let thread = Builder::new().spawn::<S, _, _>(move || {
            let [there, over, back] = theirs;
            in_user_mode::<S>(|| {
                there.store(true, Ordering::Relaxed);
                while !over.load(Ordering::Relaxed) {
                    work(1);
                }
            });
            back.store(true, Ordering::Relaxed);
            deeper(room(), || sleep::<S>(SOON));
        });
        let thread = thread.unwrap();
        while !there.load(Ordering::Relaxed) {
            yield_now::<S>();
        }
        assert_eq!(resting_pages(), 3);
        let mut hoarded = hoard::<S>(0);
        // It is refused, and before that all that rests is freed.
        assert!(Builder::new().spawn::<S, _, _>(|| ()).is_err());
        assert_eq!(resting_pages(), 0);
        empty_cache::<S>();
        hoarded.extend(hoard::<S>(0));
        let before = cache_counters::<S>().parked;
        over.store(true, Ordering::Relaxed);
        sleep::<S>(SOON);
        assert!(!back.load(Ordering::Relaxed), "it entered the kernel without a frame");
        assert_eq!(cache_counters::<S>().parked - before, 1);
        give_back::<S>(hoarded);
        let Ok(()) = thread.join();
        assert!(back.load(Ordering::Relaxed));
        settle::<S>();
    });
    run.unwrap();
}

/// A thread that lacks what another one has, which goes to user mode: it is more urgent, and so it runs at once.
fn who_goes_to_user_mode_sets_frames_free_for_who_waits<S: System>() -> Outcome {
    // A time slice has a thousand steps.
    Plan::new(1).step_ns(10_000).run::<S>(|| {
        let urgent = Priority::new(20).unwrap();
        let (hoarded, back) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let theirs = (Arc::clone(&hoarded), Arc::clone(&back));
        let waiter = Builder::new().priority(urgent).spawn::<S, _, _>(move || {
            in_user_mode::<S>(|| {
                let mut hoarded = hoard::<S>(0);
                // It is refused, and before that all that rests is freed.
                assert!(Builder::new().spawn::<S, _, _>(|| ()).is_err());
                empty_cache::<S>();
                hoarded.extend(hoard::<S>(0));
                theirs.0.lock().unwrap().extend(hoarded);
            });
            theirs.1.store(true, Ordering::Relaxed);
        });
        let waiter = waiter.unwrap();
        assert!(!back.load(Ordering::Relaxed), "it entered the kernel without a frame");
        in_user_mode::<S>(|| {
            work(50);
            assert!(back.load(Ordering::Relaxed), "who waits for frames was not let in");
            give_back::<S>(std::mem::take(&mut hoarded.lock().unwrap()));
        });
        let Ok(()) = waiter.join();
        settle::<S>();
    })
}

#[test]
fn an_exit_gives_way_to_who_waits_for_what_it_lets_rest() {
    who_goes_to_user_mode_sets_frames_free_for_who_waits::<S>().unwrap();
}

/// The one that went to user mode has stepped aside, and goes on there with its top page: nothing of its stack is missing.
#[test]
fn an_audit_knows_who_stepped_aside_in_user_mode() {
    who_goes_to_user_mode_sets_frames_free_for_who_waits::<Host<GrowOnEntry, 20, true>>().unwrap();
}
