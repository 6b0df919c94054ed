//! What the kernel says of its stacks: how deep each thread was seen, once, in the right bucket; and what an image says of it that does
//! not look.

use alloc::format;
use alloc::string::ToString;
use core::hint::black_box;

use ebbtide::stack::{self, Depths};
use ebbtide::thread::{self, Builder};
use ebbtide::{println, provoke};

use crate::harness::{Outcome, ask, failed, wait_until};

tests![
    a_thread_asleep_deep_is_in_its_bucket,
    a_thread_that_a_trap_finds_deep_is_in_its_bucket,
    a_report_says_what_is_known,
];

/// Threads of a test.
const THREADS: usize = 5;

/// Sizes of stacks, each with a depth that nothing else in this image reaches on one, and the bucket that this falls into: what is
/// pushed at that depth is less than the rest of the bucket.
const DIVES: [(usize, usize, usize); 3] = [(32 << 10, 18 << 10, 5), (64 << 10, 34 << 10, 6), (128 << 10, 66 << 10, 7)];

/// Calls `bottom` with its frame `bytes` below the top of the running thread's stack, at least, and with a few hundred at most.
fn dive(top: usize, bytes: usize, bottom: fn()) -> u64 {
    let ballast = black_box([bytes as u64; 16]);
    if top - ballast.as_ptr().addr() < bytes {
        dive(top, bytes, bottom) + ballast[0]
    } else {
        bottom();
        ballast[0]
    }
}

/// As many more threads there are in each bucket than `before`.
fn more_than(before: &Depths) -> Option<[u32; 8]> {
    let now = stack::report().depths?.threads;
    Some(core::array::from_fn(|bucket| now[bucket] - before.threads[bucket]))
}

/// Lets threads dive, do something there and come back, and looks where they are counted when they have ended.
fn look(bottom: fn()) -> Outcome {
    for (size, bytes, bucket) in DIVES {
        let Some(before) = stack::report().depths else { return Ok(()) };
        for _ in 0..THREADS {
            let diver = Builder::new().stack_size(size).spawn(move || {
                // With room for what happens down there.
                ask(bytes + (4 << 10));
                let here = 0_u64;
                // A stack is aligned to twice its size, and its first frames are small.
                let top = (&raw const here).addr().next_multiple_of(size);
                dive(top, bytes, bottom)
            });
            black_box(diver.map_err(failed("spawn"))?.join().unwrap());
        }
        // One that is on its last steps may be missing for a moment.
        wait_until("all are in their bucket", || {
            more_than(&before).is_some_and(|more| more[bucket] >= THREADS as u32)
        })?;
        let more = more_than(&before).ok_or("the depths are gone")?;
        check_eq!(more[bucket], THREADS as u32, "threads in bucket {bucket}, {bytes} bytes deep, of {more:?}");
        let deepest = stack::report().depths.map_or(0, |depths| depths.deepest as usize);
        check!(deepest >= bytes, "{bytes} bytes deep, and the deepest is {deepest}");
    }
    Ok(())
}

fn a_thread_asleep_deep_is_in_its_bucket() -> Outcome {
    look(|| thread::sleep(ebbtide::time::Duration::from_millis(1)))
}

fn a_thread_that_a_trap_finds_deep_is_in_its_bucket() -> Outcome {
    look(provoke::breakpoint)
}

fn a_report_says_what_is_known() -> Outcome {
    let report = stack::report();
    println!("{report}");
    let text = report.to_string();
    check!(text.contains(&format!("stacks under {}: ", stack::POLICY)), "it does not name the policy: {text}");
    match report.depths {
        Some(depths) => {
            let threads: u32 = depths.threads.iter().sum();
            check!(threads > 0, "no thread was seen: {text}");
            check!(text.contains(&format!(" depth_threads={threads} ")), "it does not tell the depths: {text}");
        }
        None => check!(text.contains("only an image with `--audit` knows"), "it does not say why not: {text}"),
    }
    Ok(())
}
