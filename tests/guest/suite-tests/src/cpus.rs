//! Several CPUs: where threads run, and what one CPU does that another one must see. All of it holds on one CPU, too.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use ebbtide::sync::{Arc, Mutex};
use ebbtide::thread::{self, Builder, CpuSet, NoSuchCpu, Thread};
use ebbtide::time::Instant;

use crate::harness::{Dice, Outcome, ask, failed, within_a_minute};

tests![
    as_many_run_at_once_as_there_are_cpus,
    a_bound_thread_stays_where_it_is,
    a_spawned_thread_is_bound_like_its_spawner,
    a_cpu_that_does_not_run_is_refused,
    a_thread_moves_from_cpu_to_cpu,
    a_token_goes_round_the_cpus,
    threads_wake_each_other_at_random,
    a_lock_excludes_threads_on_all_cpus,
    threads_end_on_other_cpus_than_they_began,
];

/// How many CPUs run threads.
pub fn count() -> usize {
    thread::available_parallelism().unwrap().get()
}

/// The numbers of the CPUs, in a circle.
fn nth(n: usize) -> u32 {
    (n % count()) as u32
}

fn bound(cpu: u32) -> Result<Builder, String> {
    Builder::new().affinity(CpuSet::only(cpu)).map_err(failed("a builder that binds"))
}

/// Each of as many threads waits, and never sleeps, until a thread has been seen on every CPU.
fn as_many_run_at_once_as_there_are_cpus() -> Outcome {
    let start = Instant::now();
    let (all, seen) = ((1_u32 << count()) - 1, AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..count() {
            scope.spawn(|| {
                while seen.fetch_or(1 << thread::current_cpu(), Ordering::AcqRel) != all && within_a_minute(start) {
                    thread::yield_now();
                }
            });
        }
    });
    check_eq!(seen.into_inner(), all, "CPUs on which threads were seen, a bit each");
    Ok(())
}

fn a_bound_thread_stays_where_it_is() -> Outcome {
    let lock = &Mutex::new(0_u64);
    let strayed = thread::scope(|scope| {
        let threads: Result<Vec<_>, String> = (0..3 * count())
            .map(|n| {
                let body = move || {
                    let looks = (0..200).map(|round| {
                        match round % 3 {
                            0 => thread::yield_now(),
                            1 => *lock.lock() += 1,
                            _ => thread::sleep(Dice::new(round).micros(50)),
                        }
                        thread::current_cpu()
                    });
                    looks.filter(|cpu| *cpu != nth(n)).count()
                };
                bound(nth(n))?.spawn_scoped(scope, body).map_err(failed("spawn"))
            })
            .collect();
        Ok::<_, String>(threads?.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>())
    })?;
    check_eq!(strayed, 0, "looks that found a thread on another CPU");
    Ok(())
}

fn a_spawned_thread_is_bound_like_its_spawner() -> Outcome {
    for cpu in 0..count() as u32 {
        let parent = bound(cpu)?.spawn(|| {
            let child = thread::spawn(|| (thread::affinity(), thread::current_cpu())).join().unwrap();
            let scoped = thread::scope(|scope| scope.spawn(thread::affinity).join().unwrap());
            (child, scoped)
        });
        let found = parent.map_err(failed("spawn"))?.join().unwrap();
        check_eq!(found, ((CpuSet::only(cpu), cpu), CpuSet::only(cpu)), "where the spawned threads may run");
    }
    check_eq!(thread::affinity(), CpuSet::ALL, "the main thread's CPUs");
    Ok(())
}

fn a_cpu_that_does_not_run_is_refused() -> Outcome {
    let missing = CpuSet::only(count() as u32);
    check_eq!(thread::set_affinity(missing), Err(NoSuchCpu(missing)), "a CPU that is not there");
    check_eq!(thread::set_affinity(CpuSet::EMPTY), Err(NoSuchCpu(CpuSet::EMPTY)), "no CPU");
    check!(Builder::new().affinity(missing).is_err(), "a builder took a CPU that is not there");
    check_eq!(thread::affinity(), CpuSet::ALL, "the CPUs after a refusal");
    // One that is there is enough.
    let either = missing.with(0);
    thread::set_affinity(either).map_err(failed("one CPU that is there"))?;
    check_eq!(thread::current_cpu(), 0, "the only one of them that is there");
    thread::set_affinity(CpuSet::ALL).map_err(failed("all CPUs"))
}

/// A canary for each call, as deep as the calls go.
pub fn at_depth(depth: usize, bottom: &mut dyn FnMut()) -> usize {
    let canary = core::hint::black_box([depth as u64 ^ 0x00eb_b71d; 48]);
    let broken = if depth == 0 {
        bottom();
        0
    } else {
        at_depth(depth - 1, bottom)
    };
    broken + usize::from(core::hint::black_box(&canary).iter().any(|word| *word != depth as u64 ^ 0x00eb_b71d))
}

/// Threads of all depths, whose pages rest on one CPU and are wanted on the next.
fn a_thread_moves_from_cpu_to_cpu() -> Outcome {
    let threads: Vec<_> = (0..4 * count())
        .map(|number| {
            thread::spawn(move || {
                ask(14 << 10);
                let mut dice = Dice::new(number as u64);
                let mut wrong = 0;
                let broken: usize = (0..150)
                    .map(|_| {
                        at_depth(dice.below(24) as usize, &mut || {
                            let cpu = nth(dice.below(64) as usize);
                            let moved = thread::set_affinity(CpuSet::only(cpu)).is_ok();
                            wrong += u32::from(!moved || thread::current_cpu() != cpu);
                        })
                    })
                    .sum();
                (broken, wrong)
            })
        })
        .collect();
    for thread in threads {
        check_eq!(thread.join().unwrap(), (0, 0), "canaries that were changed, and moves that led elsewhere");
    }
    Ok(())
}

/// Each thread waits on its own CPU for the one before it.
fn a_token_goes_round_the_cpus() -> Outcome {
    const ROUNDS: usize = 500;
    let turn = Arc::new(AtomicUsize::new(0));
    let ring = 2 * count();
    let mut handles = Vec::new();
    for me in 0..ring {
        let turn = Arc::clone(&turn);
        let body = move || {
            for round in 0..ROUNDS {
                while turn.load(Ordering::Acquire) != round * ring + me {
                    thread::park();
                }
                let next: Arc<Mutex<Option<Thread>>> = NEXT.lock()[me].clone();
                turn.fetch_add(1, Ordering::AcqRel);
                // Nobody waits after the last one.
                if let Some(next) = &*next.lock() {
                    next.unpark();
                }
            }
        };
        handles.push((body, bound(nth(me))?));
    }
    // The places of all, before the first one looks for its successor's.
    *NEXT.lock() = (0..ring).map(|_| Arc::default()).collect();
    let mut threads = Vec::new();
    for (body, builder) in handles {
        threads.push(builder.spawn(body).map_err(failed("spawn"))?);
    }
    let places = NEXT.lock().clone();
    for (me, place) in places.iter().enumerate() {
        *place.lock() = Some(threads[(me + 1) % ring].thread().clone());
    }
    // Who passed the token on while its successor's place was empty woke nobody.
    threads.iter().for_each(|thread| thread.thread().unpark());
    for thread in threads {
        thread.join().unwrap();
    }
    check_eq!(turn.load(Ordering::Acquire), ROUNDS * ring, "turns");
    NEXT.lock().clear();
    Ok(())
}

/// Whom each thread of the ring wakes.
static NEXT: Mutex<Vec<Arc<Mutex<Option<Thread>>>>> = Mutex::new(Vec::new());

/// Every wake-up counts: each thread is sent as many as it waits for, from threads on all CPUs, in any order.
fn threads_wake_each_other_at_random() -> Outcome {
    const EACH: usize = 1_500;
    let crowd = 6 * count();
    let letters: Arc<Vec<AtomicUsize>> = Arc::new((0..crowd).map(|_| AtomicUsize::new(0)).collect());
    let names: Arc<Mutex<Vec<Thread>>> = Arc::default();
    let threads: Vec<_> = (0..crowd)
        .map(|me| {
            let (letters, names) = (Arc::clone(&letters), Arc::clone(&names));
            thread::spawn(move || {
                while names.lock().len() < crowd {
                    thread::yield_now();
                }
                let names = names.lock().clone();
                let mut dice = Dice::new(me as u64);
                let (mut got, mut sent) = (0, 0);
                while sent < EACH || got < EACH {
                    // A permutation of the threads in each round, so that in the end everyone has been sent the same.
                    if sent < EACH {
                        let whom = (me + sent * 7) % crowd;
                        letters[whom].fetch_add(1, Ordering::AcqRel);
                        names[whom].unpark();
                        sent += 1;
                    }
                    let mut wait = || {
                        got += letters[me].swap(0, Ordering::AcqRel);
                        if got < sent {
                            thread::park();
                        }
                    };
                    if dice.below(3) == 0 || sent == EACH {
                        at_depth(dice.below(20) as usize, &mut wait);
                    }
                }
                got
            })
        })
        .collect();
    names.lock().extend(threads.iter().map(|thread| thread.thread().clone()));
    for thread in threads {
        check_eq!(thread.join().unwrap(), EACH, "wake-ups of a thread");
    }
    Ok(())
}

/// A number that is read, and written some instructions later.
fn a_lock_excludes_threads_on_all_cpus() -> Outcome {
    const EACH: u64 = 3_000;
    let (count, number) = (2 * count(), Mutex::new(0_u64));
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let mut number = number.lock();
                    let read = *number;
                    spin_loop();
                    *number = read + 1;
                }
            });
        }
    });
    check_eq!(*number.lock(), EACH * count as u64, "what all of them counted");
    Ok(())
}

/// Stacks that are kept on one CPU, and given out on another.
fn threads_end_on_other_cpus_than_they_began() -> Outcome {
    let go = Arc::new(AtomicBool::new(false));
    for round in 0..20 {
        go.store(false, Ordering::Release);
        let mut threads = Vec::new();
        for n in 0..4 * count() {
            let go = Arc::clone(&go);
            let body = move || {
                let broken = at_depth((n + round) % 20, &mut || {
                    while !go.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                });
                thread::set_affinity(CpuSet::only(nth(n + round + 1)))
                    .map_err(|error| format!("{error}"))
                    .map(|()| broken)
            };
            threads.push(bound(nth(n))?.spawn(body).map_err(failed("spawn"))?);
        }
        go.store(true, Ordering::Release);
        for thread in threads {
            check_eq!(thread.join().unwrap()?, 0, "canaries that were changed");
        }
    }
    // That none is left, and no frame is lost, is looked at after each test.
    Ok(())
}
