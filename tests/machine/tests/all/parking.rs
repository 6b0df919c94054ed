//! Exhaustion: threads wait for frames, come through in their order, or the run ends with the numbers; it never hangs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::sync::Semaphore;
use ebbtide_core::thread::{Builder, JoinHandle, Priority, park, yield_now};
use ebbtide_machine::{Host, Outcome, Plan, cache_counters, deeper, empty_cache, room, settle, sleep, work};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;

use super::exhaustion::{give_back, hoard};

type S = Host<ReclaimOnSleep>;

/// What a thread of 16 KiB lacks that has gone down by less than a page.
const LACKS: usize = 3;

/// Who came through, in this order.
type Log = Arc<Mutex<Vec<usize>>>;

fn spawn(priority: u8, f: impl FnOnce() + Send + 'static) -> JoinHandle<S, ()> {
    Builder::new().priority(Priority::new(priority).unwrap()).spawn::<S, _, _>(f).unwrap()
}

/// Long enough for every thread to do what it can, in nanoseconds; shorter than a time slice.
const SOON: u64 = 5_000_000;

/// A thread that sleeps shallow until it is unparked, then notes its number, goes down and does `f` there.
fn sleeper(number: usize, priority: u8, log: &Log, f: fn()) -> JoinHandle<S, ()> {
    let log = Arc::clone(log);
    spawn(priority, move || {
        park::<S>();
        log.lock().unwrap().push(number);
        deeper(3 * PAGE_BYTES, f);
    })
}

/// Sleeps for twice as long.
fn long_sleep() {
    sleep::<S>(2 * SOON);
}

/// Runs `f` in a main thread that lacks nothing, whatever becomes of the others, so that it goes on.
fn machine(f: impl FnOnce() + Send + 'static) -> Outcome {
    Plan::new(1).step_ns(10_000).run::<S>(move || {
        deeper(room(), f);
        settle::<S>();
    })
}

/// Lets every thread come to its first sleep, and takes all frames but `left`.
fn all_asleep(left: usize) -> Vec<PhysAddr> {
    sleep::<S>(SOON);
    let hoarded = hoard::<S>(0);
    // What an idle CPU keeps in reserve, too: nobody has it then.
    empty_cache::<S>();
    let mut more = hoard::<S>(left);
    more.extend(hoarded);
    more
}

/// How often a thread was parked.
fn parked() -> u64 {
    cache_counters::<S>().parked
}

#[test]
fn who_sleeps_deep_with_no_frame_left_comes_through_and_in_order() {
    let run = machine(|| {
        let log = Log::default();
        let threads: Vec<_> = (0..8).map(|number| sleeper(number, 16, &log, long_sleep)).collect();
        let hoarded = all_asleep(LACKS);
        threads.iter().for_each(|thread| thread.thread().unpark());
        sleep::<S>(SOON);
        // The first one has the last frames, and sleeps on them.
        assert_eq!(*log.lock().unwrap(), [0]);
        assert_eq!(parked(), 7);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        give_back::<S>(hoarded);
    });
    run.unwrap();
}

#[test]
fn who_is_more_urgent_gets_frames_first() {
    let run = machine(|| {
        let log = Log::default();
        let priorities = [10, 12, 11, 12, 14];
        let threads: Vec<_> = (0..5).map(|number| sleeper(number, priorities[number], &log, || ())).collect();
        let hoarded = all_asleep(0);
        // Each is parked before the next one is ready.
        for thread in &threads {
            thread.thread().unpark();
            sleep::<S>(SOON);
        }
        assert_eq!((parked(), log.lock().unwrap().len()), (5, 0));
        give_back::<S>(hoarded);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*log.lock().unwrap(), [4, 1, 3, 2, 0]);
    });
    run.unwrap();
}

#[test]
fn nobody_overtakes_who_waits_for_more() {
    let run = machine(|| {
        let log = Log::default();
        let mine = Arc::clone(&log);
        let large = Builder::new().stack_size(64 << 10).spawn::<S, _, _>(move || {
            park::<S>();
            mine.lock().unwrap().push(0);
        });
        let large = large.unwrap();
        let small = sleeper(1, 16, &log, || ());
        let mut hoarded = all_asleep(0);
        large.thread().unpark();
        yield_now::<S>();
        // Nobody is told of these.
        give_back::<S>(hoarded.split_off(hoarded.len() - LACKS));
        small.thread().unpark();
        yield_now::<S>();
        assert_eq!((parked(), log.lock().unwrap().len()), (2, 0), "the small one overtook the large one");
        give_back::<S>(hoarded);
        large.join().unwrap();
        small.join().unwrap();
        assert_eq!(*log.lock().unwrap(), [0, 1]);
    });
    run.unwrap();
}

#[test]
fn at_last_what_is_too_little_for_the_first_goes_to_one_for_whom_it_is_enough() {
    let run = machine(|| {
        let log = Log::default();
        let large = Builder::new().stack_size(64 << 10).spawn::<S, _, _>(park::<S>).unwrap();
        let small = sleeper(1, 16, &log, || ());
        let hoarded = all_asleep(LACKS + 2);
        large.thread().unpark();
        yield_now::<S>();
        small.thread().unpark();
        // Nothing else can run meanwhile.
        sleep::<S>(SOON);
        assert_eq!(*log.lock().unwrap(), [1]);
        small.join().unwrap();
        give_back::<S>(hoarded);
        large.join().unwrap();
    });
    run.unwrap();
}

#[test]
fn frames_that_come_free_reach_who_waits_though_the_cpu_is_never_idle() {
    let run = machine(|| {
        let log = Log::default();
        let (deep, urgent) = (sleeper(0, 20, &log, park::<S>), sleeper(1, 20, &log, || ()));
        let hoarded = all_asleep(LACKS);
        deep.thread().unpark();
        urgent.thread().unpark();
        assert_eq!(*log.lock().unwrap(), [0]);
        // It ends, and what it leaves is the other one's before this thread goes on.
        deep.thread().unpark();
        assert_eq!(*log.lock().unwrap(), [0, 1]);
        deep.join().unwrap();
        urgent.join().unwrap();
        give_back::<S>(hoarded);
    });
    run.unwrap();
}

#[test]
fn threads_that_give_way_share_the_frames_of_one() {
    let run = machine(|| {
        let turn = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let turn = Arc::clone(&turn);
                spawn(16, move || {
                    park::<S>();
                    for round in 0..4 {
                        // Each waits for another one, in a loop that never sleeps.
                        while turn.load(Ordering::Relaxed) != 3 * round + number {
                            yield_now::<S>();
                        }
                        turn.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let hoarded = all_asleep(LACKS);
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(parked() > 3, "{}", parked());
        give_back::<S>(hoarded);
    });
    run.unwrap();
}

#[test]
fn who_steps_aside_for_the_daemon_keeps_its_pages() {
    let run = machine(|| {
        let large = Builder::new().stack_size(64 << 10).spawn::<S, _, _>(park::<S>).unwrap();
        let unpark = large.thread().clone();
        let runs = spawn(16, move || {
            park::<S>();
            unpark.unpark();
            yield_now::<S>();
            let before = parked();
            // It fails, and what it had comes free while the large one waits.
            assert!(Builder::new().stack_size(1 << 20).spawn::<S, _, _>(|| ()).is_err());
            assert_eq!(parked(), before, "it stepped aside and lost its pages");
        });
        let hoarded = all_asleep(LACKS);
        runs.thread().unpark();
        runs.join().unwrap();
        give_back::<S>(hoarded);
        large.join().unwrap();
    });
    run.unwrap();
}

#[test]
fn who_never_gives_way_does_so_when_its_slice_is_over() {
    let run = machine(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let busy = spawn(16, move || {
            park::<S>();
            while !theirs.load(Ordering::Relaxed) {
                work(100);
            }
        });
        let stops = spawn(16, move || {
            park::<S>();
            stop.store(true, Ordering::Relaxed);
        });
        let hoarded = all_asleep(LACKS);
        busy.thread().unpark();
        stops.thread().unpark();
        busy.join().unwrap();
        stops.join().unwrap();
        give_back::<S>(hoarded);
    });
    run.unwrap();
}

#[test]
fn a_wake_up_is_passed_on_by_who_is_parked() {
    let run = machine(|| {
        let permits = Arc::new(Semaphore::<S>::new(0));
        let theirs = Arc::clone(&permits);
        // Lacks frames when it is woken, and there are none.
        let shallow = spawn(16, move || theirs.acquire());
        yield_now::<S>();
        let theirs = Arc::clone(&permits);
        // Lacks none.
        let pinned = Builder::new().always_populated().spawn::<S, _, _>(move || theirs.acquire()).unwrap();
        let hoarded = all_asleep(0);
        permits.release();
        sleep::<S>(SOON);
        assert!(pinned.is_finished(), "one permit, and one that could take it");
        assert_eq!(parked(), 1);
        permits.release();
        give_back::<S>(hoarded);
        shallow.join().unwrap();
        pinned.join().unwrap();
    });
    run.unwrap();
}

#[test]
fn a_deadlock_on_memory_for_stacks_ends_the_run_with_the_numbers() {
    let run = machine(|| {
        let log = Log::default();
        let threads: Vec<_> = (0..4).map(|number| sleeper(number, 16, &log, park::<S>)).collect();
        let _hoarded = all_asleep(LACKS);
        threads.iter().for_each(|thread| thread.thread().unpark());
        park::<S>();
    });
    run.ended(
        103,
        "3 of 5 threads wait for frames under policy reclaim-on-sleep; the first, thread 5, lacks 3 of 4; of 1022",
    );
}

#[test]
fn a_shortage_that_a_timer_may_end_is_no_deadlock() {
    let run = machine(|| {
        let log = Log::default();
        let threads: Vec<_> = (0..4).map(|number| sleeper(number, 16, &log, park::<S>)).collect();
        let hoarded = all_asleep(LACKS);
        threads.iter().for_each(|thread| thread.thread().unpark());
        sleep::<S>(10 * SOON);
        assert_eq!((parked(), log.lock().unwrap().len()), (3, 1));
        give_back::<S>(hoarded);
        sleep::<S>(SOON);
        threads.iter().for_each(|thread| thread.thread().unpark());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    run.unwrap();
}
