//! Threads: spawn, join, names, sizes.

use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::stack;
use ebbtide::sync::{Arc, Barrier};
use ebbtide::thread::{self, Builder, StackError};

use crate::harness::{Outcome, ask, failed, wait_until};

tests![
    join_returns_results,
    a_handle_tells_when_its_thread_has_ended,
    captures_are_dropped_once,
    names_and_numbers,
    stacks_of_every_size_are_usable,
    a_stack_that_is_too_large_is_an_error,
    threads_spawn_threads,
    ; on one CPU:
    spawn_and_join_recycle_slots_and_frames,
    crowds_recycle_slots_and_frames,
];

fn join_returns_results() -> Outcome {
    let handles: Vec<_> = (0..32_u64).map(|n| thread::spawn(move || n * n)).collect();
    for (n, handle) in (0..).zip(handles) {
        check_eq!(handle.join().unwrap(), n * n, "result of thread {n}");
    }
    let text = thread::spawn(|| format!("from thread {}", thread::current().id()));
    let id = text.thread().id();
    check_eq!(text.join().unwrap(), format!("from thread {id}"), "a result on the heap");
    Ok(())
}

fn a_handle_tells_when_its_thread_has_ended() -> Outcome {
    let go = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&go);
    let handle = thread::spawn(move || {
        while !theirs.load(Ordering::Acquire) {
            thread::park();
        }
    });
    thread::yield_now();
    check!(!handle.is_finished(), "it was finished before it was let go");
    go.store(true, Ordering::Release);
    handle.thread().unpark();
    wait_until("the thread has not ended", || handle.is_finished())?;
    handle.join().unwrap();
    Ok(())
}

fn captures_are_dropped_once() -> Outcome {
    let witness = Arc::new(());
    for _ in 0..10 {
        let theirs = Arc::clone(&witness);
        thread::spawn(move || Arc::strong_count(&theirs)).join().unwrap();
    }
    // A handle that is dropped lets its thread go on.
    let theirs = Arc::clone(&witness);
    drop(thread::spawn(move || drop(theirs)));
    stack::settle();
    check_eq!(Arc::strong_count(&witness), 1, "references that are left");
    Ok(())
}

fn names_and_numbers() -> Outcome {
    check_eq!(thread::current().name(), Some("main"), "name of the main thread");
    let seen = || {
        let me = thread::current();
        (me.id(), me.name().map(alloc::string::String::from))
    };
    let named = Builder::new().name("Ebb".into()).spawn(seen).map_err(failed("spawn"))?;
    let unnamed = thread::spawn(seen);
    let (named_id, unnamed_id) = (named.thread().id(), unnamed.thread().id());
    check_eq!(named.thread().name(), Some("Ebb"), "name by the handle");
    check_eq!(named.join().unwrap(), (named_id, Some("Ebb".into())), "by the thread itself");
    check_eq!(unnamed.join().unwrap(), (unnamed_id, None), "without a name");
    check!(named_id != unnamed_id && named_id != thread::current().id(), "two threads have one number");
    Ok(())
}

fn stacks_of_every_size_are_usable() -> Outcome {
    for kib in [8, 16, 32, 64, 128, 256, 512, 1024] {
        for bytes in [(kib << 10) - 1, kib << 10] {
            let used = bytes - 6 * 1024;
            let thread = Builder::new().stack_size(bytes).spawn(move || {
                ask(used);
                use_stack(used)
            });
            let thread = thread.map_err(|error| format!("{bytes} bytes: {error}"))?;
            check!(thread.join().unwrap() >= used, "{bytes} bytes: it did not get that deep");
        }
    }
    check_eq!(Builder::new().stack_size(0).spawn(|| 7).map(|t| t.join().unwrap()), Ok(7), "0 bytes");
    Ok(())
}

/// Calls itself until `bytes` of stack are in use, and returns how many were.
fn use_stack(bytes: usize) -> usize {
    let start = 0_u8;
    deepen(black_box(&start) as *const u8 as usize, bytes)
}

fn deepen(start: usize, bytes: usize) -> usize {
    let frame = black_box([0xa5_u8; 256]);
    let used = start - frame.as_ptr() as usize;
    let deepest = if used < bytes { deepen(start, bytes) } else { used };
    deepest + usize::from(black_box(frame)[255] - 0xa5)
}

fn a_stack_that_is_too_large_is_an_error() -> Outcome {
    let bytes = (1 << 20) + 1;
    match Builder::new().stack_size(bytes).spawn(|| ()) {
        Err(StackError::TooLarge { bytes: told }) if told == bytes as u64 => Ok(()),
        Err(error) => Err(format!("another error: {error}")),
        Ok(_) => Err(format!("there is a stack of {bytes} bytes")),
    }
}

/// Frames that are free and in the heap, once all is at rest.
fn frames_at_rest() -> (usize, usize, usize) {
    stack::settle();
    let frames = stack::frames();
    (frames.counts.free, frames.heap, frames.tables)
}

/// Makes a crowd of threads that are all there at the same time. So as many stacks are kept afterwards as ever are, and the heap
/// and the page tables are large enough for all crowds that are not larger, however the CPUs share the work.
fn all_at_once() {
    let all = Arc::new(Barrier::new(CROWD));
    let threads: Vec<_> = (0..CROWD)
        .map(|_| {
            let all = Arc::clone(&all);
            thread::spawn(move || {
                all.wait();
                use_stack(80 * CROWD)
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() >= 80 * CROWD));
}

const CROWD: usize = 100;

fn spawn_and_join_recycle_slots_and_frames() -> Outcome {
    let round = |n: usize| thread::spawn(move || use_stack(64 * (n % 128))).join().unwrap();
    all_at_once();
    let before = frames_at_rest();
    for n in 0..3_000 {
        round(n);
    }
    check_eq!(frames_at_rest(), before, "(free, heap, tables) after 3,000 threads");
    Ok(())
}

fn crowds_recycle_slots_and_frames() -> Outcome {
    let crowd = || {
        let threads: Vec<_> = (0..CROWD).map(|n| thread::spawn(move || use_stack(80 * n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    };
    all_at_once();
    let before = frames_at_rest();
    for _ in 0..20 {
        crowd();
    }
    let after = frames_at_rest();
    check_eq!((after.1, after.2), (before.1, before.2), "(heap, tables) after 20 crowds of 100 threads");
    // Where stacks grow, the 8 that are kept without a thread have what their last one touched, of 3 pages each, and need not be the
    // 8 that were kept before.
    let other = if stack::GROWS_ON_FAULT { 8 * 3 } else { 0 };
    check!(after.0.abs_diff(before.0) <= other, "{} frames were free, then {}", before.0, after.0);
    Ok(())
}

fn threads_spawn_threads() -> Outcome {
    fn tree(depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let branches = [(); 2].map(|()| thread::spawn(move || tree(depth - 1)));
        branches.into_iter().map(|branch| branch.join().unwrap()).sum()
    }
    check_eq!(tree(6), 64, "leaves of the tree");
    Ok(())
}
