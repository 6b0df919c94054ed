//! A thread that asks for stack: what it has then, and what it keeps when it goes to user mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::cpu;
use ebbtide_core::stack::{EnsureError, ensure};
use ebbtide_core::thread::{Builder, CpuSet, park, set_affinity};
use ebbtide_machine::tamper::{own_page, read};
use ebbtide_machine::{Host, Plan, deeper, in_user_mode, run_down, settle, sleep, work};
use ebbtide_policy_ensure::Ensure;

use crate::exhaustion::{give_back, hoard};

type S = Host<Ensure>;

/// Threads that ask at the same time.
const ASKING: usize = 6;

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
            assert_eq!(present(), 6, "pages after the entry: nobody has taken what rested");
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

/// Threads on two CPUs ask at the same time, when so many frames are left. Returns how many of them got what they asked for.
fn ask_with(left: usize) -> usize {
    let (told, tell) = std::sync::mpsc::channel();
    let run = Plan::wild(left as u64, 2).run::<S>(move || {
        let well = Arc::new(AtomicUsize::new(0));
        let asks = || {
            let well = Arc::clone(&well);
            let thread = Builder::new().spawn::<S, _, _>(move || {
                park::<S>();
                match ensure::<S>(24 << 10) {
                    Ok(()) => deeper(24 << 10, || {
                        well.fetch_add(1, Ordering::Relaxed);
                        sleep::<S>(100_000);
                    }),
                    Err(EnsureError::NoFrame { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            });
            thread.unwrap()
        };
        let threads: Vec<_> = (0..ASKING).map(|_| asks()).collect();
        sleep::<S>(10_000_000);
        let hoarded = hoard::<S>(left);
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        give_back::<S>(hoarded);
        sleep::<S>(10_000_000);
        settle::<S>();
        told.send(well.load(Ordering::Relaxed)).unwrap();
    });
    run.unwrap();
    tell.recv().unwrap()
}

/// Whoever asks is told something, whatever the others do: it has the pages, or there are none. Nobody waits for another one's.
#[test]
fn those_who_ask_at_the_same_time_come_to_an_end() {
    let well: Vec<_> = (0..80).step_by(4).map(ask_with).collect();
    assert!(well.contains(&0) && well.contains(&ASKING), "how many had what they asked for: {well:?}");
    assert!(well.iter().any(|well| (1..ASKING).contains(well)), "how many had what they asked for: {well:?}");
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

#[test]
fn who_has_next_to_nothing_left_asks_too_late() {
    let run = Plan::new(1).run::<S>(|| {
        let thread = Builder::new().spawn::<S, _, _>(|| {
            let found = run_down(100, || ensure::<S>(8 << 10));
            assert!(matches!(found, Err(EnsureError::TooLate { .. })), "asked at the end of the stack: {found:?}");
            ensure::<S>(20 << 10).unwrap();
        });
        thread.unwrap().join().unwrap();
    });
    run.unwrap();
}
