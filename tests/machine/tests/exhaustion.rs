//! No memory: what fails, fails cleanly, wherever it runs out.

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::stack::StackError;
use ebbtide_core::thread::{Builder, park, yield_now};
use ebbtide_core::{PhysAddr, System};
use ebbtide_machine::{Host, Plan, deeper, settle, sleep};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;
use ebbtide_policy_static::Static;

/// Takes all frames but `left`, so that the next allocation but `left` fails.
fn hoard<S: System>(left: usize) -> Vec<PhysAddr> {
    S::kernel().frames.with::<S, _>(|frames| {
        let mut hoarded = Vec::new();
        while frames.counts().free > left {
            hoarded.extend(frames.allocate());
        }
        hoarded
    })
}

/// Gives them back.
fn give_back<S: System>(hoarded: Vec<PhysAddr>) {
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
    let least = (0..60).find(|left| well(*left)).expect("60 frames are enough for a spawn");
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

#[test]
fn a_thread_that_cannot_be_switched_to_ends_the_run_with_the_numbers() {
    type S = Host<ReclaimOnSleep>;
    let run = Plan::new(1).run::<S>(|| {
        let spawn = || {
            Builder::new().spawn::<S, _, _>(|| {
                park::<S>();
                deeper(3 * PAGE_BYTES, park::<S>);
            })
        };
        let threads: Vec<_> = (0..30).map(|_| spawn().unwrap()).collect();
        // What they left is freed while all sleep.
        sleep::<S>(1_000_000);
        let _hoarded = hoard::<S>(0);
        threads.iter().for_each(|thread| thread.thread().unpark());
        yield_now::<S>();
    });
    run.ended(104, "frames for its stack before it can run");
}
