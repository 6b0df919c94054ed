//! A policy that asks which pages a thread has accessed: what stays, what goes, and who notes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::arch::StackEntry;
use ebbtide_core::thread::{Builder, JoinHandle, park, yield_now};
use ebbtide_machine::tamper::{accessed_dirty, own_page, read, walk_ahead};
use ebbtide_machine::{Fill, Host, Plan, access_faults, cache_counters, deeper, settle, sleep, work};
use ebbtide_policy_accessed_bit::AccessedBit;

type S = Host<AccessedBit>;

/// TLBs that take what is used, and nothing else: with a walker that notes accesses, and with one that leaves them to a handler.
fn plans(forgets_after: u16) -> impl Iterator<Item = Plan> {
    let plan = Plan::new(1).fill(Fill::OnUse).forgets_after(forgets_after);
    [true, false].into_iter().map(move |fault| plan.accesses_fault(fault))
}

/// A thread that does `work`, and where its top page lies.
fn spawn(work: impl FnOnce() + Send + 'static) -> (JoinHandle<S, ()>, u64) {
    let top = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&top);
    let thread = Builder::new().spawn::<S, _, _>(move || {
        theirs.store(own_page(0), Ordering::Relaxed);
        work();
    });
    while top.load(Ordering::Relaxed) == 0 {
        yield_now::<S>();
    }
    (thread.unwrap(), top.load(Ordering::Relaxed))
}

fn present(top: u64) -> usize {
    (0..4).filter(|page| matches!(read(top - page * 4096), StackEntry::Present { .. })).count()
}

fn wake(thread: &JoinHandle<S, ()>) {
    thread.thread().unpark();
    sleep::<S>(1_000_000);
}

/// Whether it comes back at once or sleeps down there; and what lies below the lowest page that it has touched goes.
#[test]
fn a_thread_keeps_what_it_has_accessed_until_it_ends() {
    for plan in plans(0) {
        for (depth, kept) in [(100, 1), (5_000, 2), (9_000, 3), (13_000, 4)] {
            let run = plan.run::<S>(move || {
                let (thread, top) = spawn(move || {
                    deeper(depth, || ());
                    (0..10).for_each(|_| park::<S>());
                });
                for _ in 0..9 {
                    wake(&thread);
                    assert_eq!(present(top), kept, "{depth} bytes deep");
                }
                wake(&thread);
                thread.join().unwrap();
                settle::<S>();
            });
            run.unwrap();
        }
    }
}

/// At the third switch it is forgotten what was accessed, and what the thread does not come back to goes at the next.
#[test]
fn what_is_not_accessed_again_goes_once_that_is_forgotten() {
    for plan in plans(3) {
        let run = plan.run::<S>(move || {
            let (thread, top) = spawn(move || {
                deeper(9_000, || ());
                (0..6).for_each(|_| park::<S>());
            });
            let mut kept = vec![present(top)];
            for _ in 0..4 {
                wake(&thread);
                kept.push(present(top));
            }
            assert_eq!(kept, [3, 3, 3, 1, 1]);
            wake(&thread);
            wake(&thread);
            thread.join().unwrap();
            settle::<S>();
        });
        run.unwrap();
    }
}

/// The next thread of a stack that is kept does not answer for what the one before has accessed.
#[test]
fn a_new_thread_has_accessed_nothing() {
    for plan in plans(0) {
        let run = plan.run::<S>(move || {
            let (first, top_of_first) = spawn(|| deeper(9_000, || ()));
            first.join().unwrap();
            settle::<S>();
            assert_eq!(present(top_of_first), 4, "the stack is kept");
            let (second, top) = spawn(park::<S>);
            assert_eq!((top, present(top)), (top_of_first, 1));
            wake(&second);
            second.join().unwrap();
            settle::<S>();
        });
        run.unwrap();
    }
}

/// Each page once, however often it is used.
#[test]
fn a_first_access_is_a_fault_where_the_cpu_leaves_it_to_a_handler() {
    for (plan, faults) in plans(0).zip([2, 0]) {
        let run = plan.run::<S>(move || {
            let before = access_faults();
            let (thread, _) = spawn(|| {
                for _ in 0..5 {
                    deeper(9_000, || ());
                    yield_now::<S>();
                }
            });
            thread.join().unwrap();
            settle::<S>();
            assert_eq!(access_faults() - before, faults);
        });
        run.unwrap();
    }
}

/// What a CPU notes while the second half looks, the rest does not write over: the machine's check, on CPUs that walk all the time.
#[test]
fn what_walkers_note_meanwhile_is_not_lost() {
    for seed in 0..20 {
        let plan = Plan::wild(seed, 3).fill(Fill::OneStepIn(1)).accesses_fault(false).forgets_after(1);
        let run = plan.run::<S>(|| {
            let threads: Vec<_> =
                (0..6).map(|_| Builder::new().spawn::<S, _, _>(|| (0..6).for_each(|_| yield_now::<S>()))).collect();
            threads.into_iter().for_each(|thread| thread.unwrap().join().unwrap());
            assert_eq!(cache_counters::<S>().parked, 0);
        });
        run.unwrap();
    }
}

/// The machine's own check, seen to fire: a page that was accessed rests where nobody waits for frames.
#[test]
fn an_accessed_page_that_goes_is_found() {
    let run = Plan::new(1).fill(Fill::OnUse).accesses_fault(false).run::<S>(|| {
        let (thread, top) = spawn(|| deeper(9_000, park::<S>));
        let page = top - 2 * 4096;
        walk_ahead(0, page);
        let StackEntry::Present { frame } = read(page) else { panic!("a live page is not there") };
        ebbtide_machine::tamper::write(page, StackEntry::Resting { frame, generation: 1 << 10 });
        drop(thread);
    });
    run.broken("a page went that was accessed");
}

/// A CPU that knows the pages from before does not note that they are used again: live they are all the same.
#[test]
fn a_live_page_that_no_walker_has_noted_stays() {
    for plan in plans(1) {
        let run = plan.run::<S>(|| {
            let (thread, top) = spawn(|| {
                deeper(9_000, || ());
                park::<S>();
                deeper(9_000, park::<S>);
            });
            wake(&thread);
            assert_eq!((present(top), accessed_dirty(top - 2 * 4096).0), (3, false));
            wake(&thread);
            thread.join().unwrap();
            settle::<S>();
        });
        run.unwrap();
    }
}

/// Wherever a thread stands when it is preempted, its frame may go to a page that it has not touched.
#[test]
fn a_preemption_may_be_the_first_to_access_a_page() {
    for depth in (3_000..4_100).step_by(96) {
        let plan = Plan::new(1).fill(Fill::OnUse).accesses_fault(true).step_ns(100_000);
        let run = plan.run::<S>(move || {
            let threads: Vec<_> = (0..2).map(|_| spawn_busy(depth)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            settle::<S>();
        });
        run.unwrap();
    }
}

fn spawn_busy(depth: u64) -> JoinHandle<S, ()> {
    Builder::new().spawn::<S, _, _>(move || deeper(depth, || work(500))).unwrap()
}
