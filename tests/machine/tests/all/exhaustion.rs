//! No memory: what fails, fails cleanly, wherever it runs out.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::memory::frames::Refusal;
use ebbtide_core::stack::StackError;
use ebbtide_core::thread::{Builder, CpuSet, Priority, park, set_affinity, yield_now};
use ebbtide_core::{PhysAddr, StackPolicy, System};
use ebbtide_machine::program::{Op, Task};
use ebbtide_machine::{Host, Plan, cache_counters, deeper, refuse, resting_pages, room, settle, sleep, work};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;
use ebbtide_policy_static::Static;

/// Takes all frames but `left`, so that the next allocation but `left` fails.
pub(crate) fn hoard<S: System>(left: usize) -> Vec<PhysAddr> {
    S::kernel().frames.with::<S, _>(|frames| {
        let mut hoarded = Vec::new();
        while frames.counts().free > left {
            hoarded.extend(frames.allocate());
        }
        hoarded
    })
}

/// Gives them back.
pub(crate) fn give_back<S: System>(hoarded: Vec<PhysAddr>) {
    S::kernel().frames.with::<S, _>(|frames| {
        for frame in hoarded {
            free(frames, frame);
        }
    });
}

fn free(frames: &mut ebbtide_core::memory::FrameAllocator, frame: PhysAddr) {
    #![expect(unsafe_code, reason = "gives a frame back")]
    // SAFETY: `hoard` took it, and nobody has used it.
    unsafe { frames.deallocate(frame) };
}

/// Spawns when `left` frames are left, and says whether that went well. Afterwards every frame is where it belongs, and
/// with memory at hand the same spawn goes well.
fn spawn_with<S: System>(left: usize) -> bool {
    // No stack of this size was ever used, so there is no page table for it.
    let spawn = || Builder::new().stack_size(32 << 10).spawn::<S, _, _>(|| deeper(20_000, || ()));
    // Once every CPU has what it needs.
    settle::<S>();
    let hoarded = hoard::<S>(left);
    let spawned = spawn();
    let ended = match spawned {
        Ok(thread) => {
            thread.join().unwrap();
            true
        }
        Err(error) => {
            assert!(matches!(error, StackError::NoFrame { .. }), "{error}");
            false
        }
    };
    give_back::<S>(hoarded);
    sleep::<S>(1_000_000);
    settle::<S>();
    spawn().unwrap().join().unwrap();
    // Another CPU that has pages to free needs this one's answer, which has interrupts off once it settles.
    sleep::<S>(1_000_000);
    settle::<S>();
    ended
}

/// The least number of frames with which a spawn goes well, all smaller ones tried.
fn least<S: System>(cpus: usize) -> usize {
    let well = |left| {
        let (told, tell) = std::sync::mpsc::channel();
        Plan::wild(left as u64, cpus).run::<S>(move || told.send(spawn_with::<S>(left)).unwrap()).unwrap();
        tell.recv().unwrap()
    };
    let least = (0..100).find(|left| well(*left)).expect("100 frames are enough for a spawn");
    assert!(well(least + 1), "it went well with fewer");
    least
}

#[test]
fn a_spawn_for_which_the_kth_frame_is_missing_fails_and_loses_no_frame_under_static() {
    assert!(least::<Host<Static>>(1) > 8, "the stack alone has 8 pages");
}

#[test]
fn a_spawn_for_which_the_kth_frame_is_missing_fails_and_loses_no_frame_under_reclaim_on_sleep() {
    assert!(least::<Host<ReclaimOnSleep>>(1) > 1, "a table and a page");
}

#[test]
fn the_same_with_other_cpus_at_work() {
    least::<Host<ReclaimOnSleep>>(2);
}

/// Spawns when no frame is free, but pages of so many threads rest on this CPU, a busy one that frees nothing by itself. The main
/// thread is on the first CPU and never sleeps.
fn spawn_from_what_rests_on(cpu: u32, sleepers: usize, plan: Plan) {
    type S = Host<ReclaimOnSleep>;
    let run = plan.run::<S>(move || {
        set_affinity::<S>(CpuSet::only(0)).unwrap();
        let on = |priority| {
            let builder = Builder::new().priority(Priority::new(priority).unwrap());
            builder.affinity::<S>(CpuSet::only(cpu)).unwrap()
        };
        let (over, asleep) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let theirs = Arc::clone(&over);
        let busy = on(1).spawn::<S, _, _>(move || {
            while !theirs.load(Ordering::Acquire) {
                work(10);
            }
        });
        let sleeper = || {
            let asleep = Arc::clone(&asleep);
            let thread = on(20).spawn::<S, _, _>(move || {
                asleep.fetch_add(1, Ordering::AcqRel);
                park::<S>();
            });
            thread.unwrap()
        };
        let threads: Vec<_> = (0..sleepers).map(|_| sleeper()).collect();
        while asleep.load(Ordering::Acquire) < sleepers || resting_pages() < 3 * sleepers {
            work(10);
        }
        let hoarded = hoard::<S>(0);
        let spawned = Builder::new().spawn::<S, _, _>(|| ());
        give_back::<S>(hoarded);
        over.store(true, Ordering::Release);
        threads.iter().for_each(|thread| thread.thread().unpark());
        for thread in threads.into_iter().chain([busy.unwrap(), spawned.expect("frames rest")]) {
            thread.join().unwrap();
        }
    });
    run.unwrap();
}

#[test]
fn a_spawn_gets_what_rests_where_it_is() {
    // So few that all of it has room in this CPU's cache.
    spawn_from_what_rests_on(0, 20, Plan::new(1));
}

#[test]
fn a_spawn_gets_what_rests_on_another_cpu() {
    for seed in 0..4 {
        spawn_from_what_rests_on(1, 40, Plan::new(seed).cpus(2));
        spawn_from_what_rests_on(2, 40, Plan::new(seed).cpus(3));
    }
}

/// Something of everything that takes frames: stacks of each size that policies are asked about and of one beyond, threads
/// that sleep deep and shallow, and that end.
pub(crate) fn tasks() -> Vec<Task> {
    let task = |stack_bytes: usize, ops| Task { stack_bytes, pinned: false, priority: 16, ops };
    let deep = |bytes| Op::Deeper(bytes, vec![Op::Sleep(100_000)]);
    let sizes = [8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10];
    let mut tasks: Vec<_> =
        sizes.iter().map(|bytes| task(*bytes, vec![deep(*bytes as u64), Op::Sleep(100_000), deep(5_000)])).collect();
    // More than are kept when they end.
    let child = task(16 << 10, vec![deep(9_000)]);
    tasks.extend((0..9).map(|_| task(16 << 10, vec![Op::Sleep(300_000), Op::Spawn(child.clone()), deep(12_000)])));
    tasks
}

/// Each single call of the frame allocator fails once: what was tried is tried again, or does with less.
pub(super) fn every_single_refusal_of<P: StackPolicy>(cpus: usize, tasks: fn() -> Vec<Task>) {
    let plan = Plan::wild(1, cpus).cache(16);
    let calls = plan.run_tasks::<P, 20>(tasks()).unwrap().allocations;
    assert!(calls > 50, "{calls} calls");
    for number in 1..=calls {
        let refusal = Refusal::Nth(number.try_into().unwrap());
        plan.refusing(refusal).run_tasks::<P, 20>(tasks()).unwrap();
    }
}

fn every_single_refusal<P: StackPolicy>(cpus: usize) {
    every_single_refusal_of::<P>(cpus, tasks);
}

#[test]
fn any_frame_may_be_refused_once_under_static() {
    every_single_refusal::<Static>(1);
}

#[test]
fn any_frame_may_be_refused_once_under_reclaim_on_sleep() {
    every_single_refusal::<ReclaimOnSleep>(1);
}

#[test]
fn any_frame_may_be_refused_once_on_two_cpus() {
    every_single_refusal::<Static>(2);
    every_single_refusal::<ReclaimOnSleep>(2);
}

#[test]
fn any_frame_may_be_refused_once_on_three_cpus() {
    every_single_refusal::<Static>(3);
    every_single_refusal::<ReclaimOnSleep>(3);
}

#[test]
fn a_refill_that_fails_once_is_made_again() {
    type S = Host<ReclaimOnSleep>;
    let run = Plan::new(1).cache(16).run::<S>(|| {
        let sleeper = || {
            park::<S>();
            deeper(3 * PAGE_BYTES, park::<S>);
        };
        // All of main's stack is in use, so that no page of it rests and can be freed.
        deeper(room(), || {
            let threads: Vec<_> = (0..8).map(|_| Builder::new().spawn::<S, _, _>(sleeper).unwrap()).collect();
            // What they left is freed, and the cache holds what one thread may lack: enough for five of them.
            sleep::<S>(1_000_000);
            let failed = cache_counters::<S>().refills_failed;
            refuse::<S>(Refusal::Nth(NonZeroU64::MIN));
            threads.iter().for_each(|thread| thread.thread().unpark());
            yield_now::<S>();
            assert_eq!(cache_counters::<S>().refills_failed, failed + 1);
            threads.iter().for_each(|thread| thread.thread().unpark());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        settle::<S>();
    });
    run.unwrap();
}
