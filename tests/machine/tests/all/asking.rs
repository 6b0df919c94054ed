//! A thread that asks for stack: what it has then, and what it keeps when it goes to user mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::cpu;
use ebbtide_core::stack::{EnsureError, ensure};
use ebbtide_core::thread::{Builder, CpuSet, set_affinity};
use ebbtide_machine::tamper::{own_page, read};
use ebbtide_machine::{Host, Plan, in_user_mode, settle, work};
use ebbtide_policy_ensure::Ensure;

use crate::exhaustion::{give_back, hoard};

type S = Host<Ensure>;

/// Pages of the running thread's stack that are populated.
fn present() -> usize {
    let top = own_page(0);
    (0..7).filter(|page| matches!(read(top - page * PAGE_BYTES), StackEntry::Present { .. })).count()
}

#[test]
fn the_excess_rests_on_exit_to_user_mode() {
    let run = Plan::new(1).run::<S>(|| {
        let thread = Builder::new().spawn::<S, _, _>(|| {
            assert_eq!(present(), 3, "pages unasked");
            ensure::<S>(20 << 10).unwrap();
            assert_eq!(present(), 6, "pages for 20 KiB and a preemption");
            in_user_mode::<S>(|| assert_eq!(present(), 3, "pages in user mode"));
            assert_eq!(present(), 3, "pages after the entry");
        });
        thread.unwrap().join().unwrap();
        settle::<S>();
    });
    run.unwrap();
}

#[test]
fn the_next_thread_does_not_have_what_it_has_not_asked_for() {
    let run = Plan::new(1).run::<S>(|| {
        for asks in [true, false] {
            let thread = Builder::new().spawn::<S, _, _>(move || {
                assert_eq!(present(), 3, "pages unasked");
                if asks {
                    ensure::<S>(20 << 10).unwrap();
                }
            });
            thread.unwrap().join().unwrap();
            settle::<S>();
        }
    });
    run.unwrap();
}

#[test]
fn nothing_is_asked_where_nobody_may_sleep() {
    let run = Plan::new(1).run::<S>(|| {
        let thread = Builder::new().spawn::<S, _, _>(|| {
            let found = cpu::without_interrupts::<S, _>(|| ensure::<S>(20 << 10));
            assert_eq!(found, Err(EnsureError::MayNotSleep), "asked with interrupts off");
            let found = cpu::without_preemption::<S, _>(|| ensure::<S>(20 << 10));
            assert_eq!(found, Err(EnsureError::MayNotSleep), "asked with preemption off");
        });
        thread.unwrap().join().unwrap();
    });
    run.unwrap();
}

#[test]
fn who_steps_aside_need_not_have_asked_for_all() {
    type Audited = Host<Ensure, 20, true>;
    let run = Plan::new(1).cpus(2).run::<Audited>(|| {
        let over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&over);
        let builder = Builder::new().affinity::<Audited>(CpuSet::only(1)).unwrap();
        let busy = builder.spawn::<Audited, _, _>(move || {
            while !theirs.load(Ordering::Acquire) {
                work(10);
            }
        });
        set_affinity::<Audited>(CpuSet::only(0)).unwrap();
        let hoarded = hoard::<Audited>(0);
        // Before that is refused, the other CPU's thread steps aside, pinned as it is.
        assert!(Builder::new().spawn::<Audited, _, _>(|| ()).is_err(), "no frame is free");
        give_back::<Audited>(hoarded);
        over.store(true, Ordering::Release);
        busy.unwrap().join().unwrap();
        settle::<Audited>();
    });
    run.unwrap();
}
