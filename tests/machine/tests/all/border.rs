//! Exhaustion at the entry from user mode: the thread waits on its top page, and goes on when there are frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ebbtide_core::thread::{Builder, yield_now};
use ebbtide_machine::{
    Host, Plan, cache_counters, deeper, empty_cache, in_user_mode, resting_pages, room, settle, sleep, work,
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
