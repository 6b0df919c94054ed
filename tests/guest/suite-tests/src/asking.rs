//! `stack::ensure` and `stack::remaining`, which every policy has: what is asked for can be used, and what cannot be had is refused.

use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, JoinHandle};
use ebbtide::time::Duration;
use ebbtide::{
    provoke,
    stack::{self, ASKS, EnsureError},
};

use crate::harness::{Outcome, failed, wait_until};

tests![
    what_was_asked_for_can_be_used,
    asking_again_takes_nothing,
    a_stack_that_is_too_small_is_an_error,
    nothing_is_asked_where_nobody_may_sleep,
    asking_without_memory_fails,
];

/// Bytes of the stacks of these threads, at least.
const STACK_BYTES: usize = 48 << 10;

/// What they ask for: more than a thread has unasked, under any policy.
const BYTES: usize = 32 << 10;

/// Runs `f` in a thread with such a stack.
fn on_a_new_stack<T: Send + 'static>(f: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    Builder::new().stack_size(STACK_BYTES).spawn(f).map_err(failed("spawn"))?.join().unwrap()
}

/// Uses half of so many bytes at least, and all at most, sleeps at the bottom, and says whether it is all as it was left.
pub fn use_stack(bytes: usize) -> bool {
    let canary = black_box([bytes as u64 ^ 0x00eb_b71d; 64]);
    let is_whole = if bytes > 1 << 10 {
        use_stack(bytes - (1 << 10))
    } else {
        thread::sleep(Duration::from_millis(2));
        thread::yield_now();
        true
    };
    is_whole && black_box(&canary).iter().all(|word| *word == bytes as u64 ^ 0x00eb_b71d)
}

fn what_was_asked_for_can_be_used() -> Outcome {
    let threads = (0..8).map(|_| {
        Builder::new().stack_size(STACK_BYTES).spawn(|| -> Result<bool, String> {
            let before = stack::remaining();
            check!(before < BYTES || !ASKS, "{before} bytes were there unasked");
            stack::ensure(BYTES).map_err(failed("asking"))?;
            let after = stack::remaining();
            check!(after >= BYTES, "{after} bytes remain of {BYTES} that were asked for");
            Ok(use_stack(BYTES))
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        check!(thread.map_err(failed("spawn"))?.join().unwrap()?, "a canary was changed");
    }
    Ok(())
}

fn asking_again_takes_nothing() -> Outcome {
    on_a_new_stack(|| {
        stack::ensure(BYTES).map_err(failed("asking"))?;
        let remaining = stack::remaining();
        stack::ensure(BYTES).map_err(failed("asking again"))?;
        stack::ensure(0).map_err(failed("asking for nothing"))?;
        check_eq!(stack::remaining(), remaining, "what remains");
        Ok(())
    })
}

fn a_stack_that_is_too_small_is_an_error() -> Outcome {
    on_a_new_stack(|| {
        let found = stack::ensure(1 << 20);
        let Err(EnsureError::TooSmall { bytes, most }) = found else { return Err(alloc::format!("{found:?}")) };
        check_eq!(bytes, 1 << 20, "bytes that were asked for");
        check!((BYTES..1 << 20).contains(&most), "{most} bytes can be had of a stack of {STACK_BYTES}");
        check!(matches!(stack::ensure(usize::MAX), Err(EnsureError::TooSmall { .. })), "all that can be named");
        Ok(())
    })
}

fn nothing_is_asked_where_nobody_may_sleep() -> Outcome {
    on_a_new_stack(|| {
        let (before, mut found) = (stack::remaining(), Ok(()));
        provoke::with_interrupts_off(|| found = stack::ensure(BYTES));
        check_eq!(found, Err(EnsureError::MayNotSleep), "asking with interrupts off");
        provoke::with_console_locked(|| found = stack::ensure(BYTES));
        check_eq!(found, Err(EnsureError::MayNotSleep), "asking with preemption off");
        check_eq!(stack::remaining(), before, "what remains");
        Ok(())
    })
}

/// Threads that sleep until they are told otherwise take all memory that can be had for stacks.
pub fn take_all(stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
    let mut threads = Vec::new();
    for kib in [1024, 256, 64, 16, 8] {
        loop {
            let stop = Arc::clone(stop);
            let sleep = move || {
                while !stop.load(Ordering::Acquire) {
                    thread::park();
                }
            };
            match Builder::new().stack_size(kib << 10).always_populated().spawn(sleep) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
    }
    threads
}

fn asking_without_memory_fails() -> Outcome {
    let (go, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let asks = Arc::clone(&go);
    let asker = Builder::new().stack_size(STACK_BYTES).spawn(move || {
        while !asks.load(Ordering::Acquire) {
            thread::park();
        }
        stack::ensure(BYTES)
    });
    let asker = asker.map_err(failed("spawn"))?;
    let threads = take_all(&stop);
    go.store(true, Ordering::Release);
    asker.thread().unpark();
    let came_back = wait_until("who asks waits for memory that nobody gives up", || asker.is_finished());
    stop.store(true, Ordering::Release);
    threads.iter().for_each(|thread| thread.thread().unpark());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    came_back?;
    match asker.join().unwrap() {
        Err(EnsureError::NoFrame { .. }) if ASKS => Ok(()),
        Ok(()) if !ASKS => Ok(()),
        other => Err(alloc::format!("asking without memory: {other:?}")),
    }
}
