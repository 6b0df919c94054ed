//! Several CPUs: threads that move between them, and translations that others keep.

use std::collections::BTreeSet;

use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::thread::{Builder, CpuSet, park, set_affinity};
use ebbtide_machine::tamper::{own_page, read, walk_ahead};
use ebbtide_machine::{Fill, Host, Outcome, Plan, Wrong, cpu_number, deeper, settle, sleep, work};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;

type Reclaiming = Host<ReclaimOnSleep>;

#[test]
fn a_thread_sleeps_here_and_wakes_there_and_its_records_survive() {
    let (told, tell) = std::sync::mpsc::channel();
    let run = Plan::wild(12, 3).run::<Reclaiming>(move || {
        let sleeper = || {
            let mut cpus = BTreeSet::new();
            for depth in 1..20 {
                deeper(depth * 500, || {
                    sleep::<Reclaiming>(1_000_000);
                    cpus.insert(cpu_number());
                    // Its records move with it.
                    set_affinity::<Reclaiming>(CpuSet::only(depth as u32 % 3)).unwrap();
                    cpus.insert(cpu_number());
                    sleep::<Reclaiming>(100_000);
                    assert_eq!(cpu_number(), depth as usize % 3);
                    set_affinity::<Reclaiming>(CpuSet::ALL).unwrap();
                });
            }
            cpus.len()
        };
        let threads: Vec<_> = (0..4).map(|_| Builder::new().spawn::<Reclaiming, _, _>(sleeper).unwrap()).collect();
        for thread in threads {
            told.send(thread.join().unwrap()).unwrap();
        }
        sleep::<Reclaiming>(1_000_000);
        settle::<Reclaiming>();
    });
    run.unwrap();
    assert_eq!(tell.iter().max(), Some(3), "no thread was on every CPU");
}

#[test]
fn threads_on_every_cpu_work_at_the_same_time() {
    let run = Plan::wild(5, 2).run::<Reclaiming>(|| {
        let worker = || deeper(6_000, || (0..100).for_each(|_| work(10)));
        let threads: Vec<_> = (0..6).map(|_| Builder::new().spawn::<Reclaiming, _, _>(worker).unwrap()).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    run.unwrap();
}

/// David Laight's: a CPU that never ran a thread knows a page of its stack, because it had a reference into it. The
/// page's frame goes to another stack.
fn a_reference_into_another_stack(plan: Plan) -> Outcome {
    plan.fill(Fill::OnUse).run::<Reclaiming>(|| {
        let (told, tell) = std::sync::mpsc::channel();
        let thread = Builder::new().spawn::<Reclaiming, _, _>(move || {
            deeper(2 * PAGE_BYTES, || {
                // The other CPU reads it while it is populated.
                walk_ahead(1, own_page(1));
                told.send(own_page(1)).unwrap();
            });
            park::<Reclaiming>();
        });
        let thread = thread.unwrap();
        let page = loop {
            sleep::<Reclaiming>(100_000);
            if let Ok(page) = tell.try_recv() {
                break page;
            }
        };
        while read(page) != StackEntry::Empty {
            sleep::<Reclaiming>(10_000_000);
        }
        thread.thread().unpark();
        thread.join().unwrap();
    })
}

#[test]
fn a_page_that_another_cpu_has_read_is_freed_only_after_that_one_forgot_it() {
    a_reference_into_another_stack(Plan::wild(1, 2)).unwrap();
    let wrong = Plan::wild(1, 2).wrong(Wrong::ForgetsCpu(1));
    a_reference_into_another_stack(wrong).broken("have not invalidated it since it rested");
}

/// A thread waits, now shallow, now deep, while wakers on every CPU wake it: many a time when it is just being left.
fn woken_while_it_is_left(seed: u64) -> Outcome {
    Plan::wild(seed, 3).cpu_changes_one_in(2).run::<Reclaiming>(|| {
        let woken = Builder::new().spawn::<Reclaiming, _, _>(|| {
            for depth in 0..40 {
                deeper(depth % 4 * 3_000, park::<Reclaiming>);
            }
        });
        let woken = woken.unwrap();
        let waker = || {
            let thread = woken.thread().clone();
            let wake = move || {
                for turn in 0..60 {
                    thread.unpark();
                    if turn % 8 == 0 {
                        sleep::<Reclaiming>(200_000);
                    }
                }
            };
            Builder::new().spawn::<Reclaiming, _, _>(wake).unwrap()
        };
        let wakers: Vec<_> = (0..3).map(|_| waker()).collect();
        for waker in wakers {
            waker.join().unwrap();
        }
        while !woken.is_finished() {
            woken.thread().unpark();
            sleep::<Reclaiming>(100_000);
        }
        sleep::<Reclaiming>(1_000_000);
        settle::<Reclaiming>();
    })
}

#[test]
fn a_thread_that_is_woken_while_it_is_left_goes_on_only_when_its_stack_is_settled() {
    for seed in 0..20 {
        woken_while_it_is_left(seed).unwrap();
    }
}
