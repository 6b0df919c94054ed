//! `stack::call_with`, which every policy has: a closure on a temporary stack does all that it could do on its thread's own.

use alloc::string::String;
use alloc::vec::Vec;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide::provoke;
use ebbtide::stack::{self, CallError};
use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, CpuSet, StackError};
use ebbtide::time::Duration;

use crate::asking::{take_all, use_stack};
use crate::cpus;
use crate::harness::{Outcome, conserved, failed, wait_until};

tests![
    a_closure_has_the_stack_that_was_asked_for,
    what_was_used_last_serves_again,
    calls_nest,
    threads_sleep_in_calls,
    a_thread_moves_from_cpu_to_cpu_in_a_call,
    registers_survive_a_call,
    a_thread_that_sleeps_in_a_call_is_counted_once,
    no_stack_is_borrowed_where_nobody_may_sleep,
    a_stack_that_does_not_exist_is_an_error,
    without_memory_no_stack_is_borrowed,
    ; on one CPU:
    a_closure_is_preempted,
];

/// Bytes that are borrowed: more than a thread has with a stack of [`SMALL`].
const BYTES: usize = 48 << 10;

/// Bytes that are used of them: what is left is for a preemption, and for what calls and sleeps.
const USED: usize = BYTES - (16 << 10);

/// Bytes of the stacks of the threads that borrow.
const SMALL: usize = 16 << 10;

/// Runs `f` in a thread with a small stack.
fn in_a_small_thread<T: Send + 'static>(f: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    Builder::new().stack_size(SMALL).spawn(f).map_err(failed("spawn"))?.join().unwrap()
}

fn call<R>(bytes: usize, f: impl FnOnce() -> R) -> Result<R, String> {
    stack::call_with(bytes, f).map_err(failed("calling with a temporary stack"))
}

fn address_here() -> usize {
    let here = 0_u8;
    (&raw const *black_box(&here)).addr()
}

fn a_closure_has_the_stack_that_was_asked_for() -> Outcome {
    in_a_small_thread(|| {
        let (before, mut calls) = (stack::remaining(), 0);
        let outside = address_here();
        let (inside, remaining, is_whole) = call(BYTES, || {
            calls += 1;
            (address_here(), stack::remaining(), use_stack(USED))
        })?;
        check!(inside.abs_diff(outside) > SMALL, "it ran at {inside:#x}, and was called at {outside:#x}");
        check!(remaining > USED, "{remaining} bytes remained of {BYTES}");
        check!(is_whole, "a canary was changed");
        check_eq!(calls, 1, "calls");
        check_eq!(stack::remaining(), before, "what remains when it is back");
        Ok(())
    })
}

fn what_was_used_last_serves_again() -> Outcome {
    in_a_small_thread(|| {
        let first = call(BYTES, address_here)?;
        for _ in 0..1_000 {
            check_eq!(call(BYTES, address_here)?, first, "where it ran");
        }
        Ok(())
    })
}

/// Calls itself `depth` times, on a stack of its own each, and adds to what the outermost has on its stack.
fn nest(depth: usize, sum: &mut usize) -> Result<bool, String> {
    let canary = black_box([depth ^ 0x0bad_cafe; 32]);
    *sum += depth;
    let below = if depth == 0 {
        thread::sleep(Duration::from_millis(2));
        true
    } else {
        call(8 << 10 << (depth % 3), || {
            thread::yield_now();
            nest(depth - 1, sum)
        })??
    };
    thread::yield_now();
    Ok(below && black_box(&canary).iter().all(|word| *word == depth ^ 0x0bad_cafe))
}

fn calls_nest() -> Outcome {
    let threads = (0..6).map(|_| {
        Builder::new().spawn(|| {
            let mut sum = 0;
            nest(5, &mut sum).map(|is_whole| (is_whole, sum))
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        let (is_whole, sum) = thread.map_err(failed("spawn"))?.join().unwrap()?;
        check!(is_whole, "a canary was changed");
        check_eq!(sum, 15, "what the calls added up");
    }
    Ok(())
}

fn threads_sleep_in_calls() -> Outcome {
    let threads = (0..24).map(|n| {
        Builder::new().stack_size(SMALL).spawn(move || -> Result<bool, String> {
            let mut is_whole = true;
            for round in 0..3 {
                // Scoped threads refer to what lies on both of their parent's stacks.
                let (outer, inner) = (AtomicUsize::new(n), AtomicUsize::new(round));
                is_whole &= call(BYTES, || {
                    thread::scope(|scope| {
                        scope.spawn(|| outer.fetch_add(inner.fetch_add(1, Ordering::AcqRel), Ordering::AcqRel));
                    });
                    use_stack(USED / (1 + n % 4))
                })?;
                is_whole &= (outer.into_inner(), inner.into_inner()) == (n + round, round + 1);
            }
            Ok(is_whole)
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        check!(thread.map_err(failed("spawn"))?.join().unwrap()?, "a canary was changed");
    }
    Ok(())
}

/// Two threads share a CPU and never give way; each waits for the other to come further.
fn a_closure_is_preempted() -> Outcome {
    const TURNS: usize = 6;
    let turn = Arc::new(AtomicUsize::new(0));
    let threads = [0, 1].map(|me| {
        let turn = Arc::clone(&turn);
        Builder::new().stack_size(SMALL).spawn(move || {
            call(BYTES, || {
                let canary = black_box([me ^ 0x0ddc_0ffe; 256]);
                while turn.load(Ordering::Acquire) < 2 * TURNS {
                    if turn.load(Ordering::Acquire) % 2 == me {
                        turn.fetch_add(1, Ordering::AcqRel);
                    }
                    spin_loop();
                }
                black_box(&canary).iter().all(|word| *word == me ^ 0x0ddc_0ffe)
            })
        })
    });
    for thread in threads {
        check!(thread.map_err(failed("spawn"))?.join().unwrap()?, "a canary was changed");
    }
    Ok(())
}

fn a_thread_moves_from_cpu_to_cpu_in_a_call() -> Outcome {
    in_a_small_thread(|| {
        for cpu in (0..cpus::count() as u32).chain([0]) {
            let found = call(BYTES, || {
                thread::set_affinity(CpuSet::only(cpu)).map_err(failed("moving"))?;
                let is_whole = use_stack(USED / 2);
                Ok::<_, String>((is_whole, thread::current_cpu()))
            })??;
            check_eq!(found, (true, cpu), "whether its canaries are whole, and where it is");
            check_eq!(thread::current_cpu(), cpu, "where it is back");
        }
        Ok(())
    })
}

fn registers_survive_a_call() -> Outcome {
    extern "C" fn calls() {
        stack::call_with(BYTES, thread::yield_now).expect("there is memory");
    }
    for pattern in 1..20_u64 {
        let changed = provoke::registers_changed_by(pattern.wrapping_mul(0x9e37_79b9_7f4a_7c15), calls);
        check_eq!(changed, 0, "registers that a call has changed, a bit each");
    }
    Ok(())
}

fn a_thread_that_sleeps_in_a_call_is_counted_once() -> Outcome {
    let asleep = Arc::new(AtomicUsize::new(0));
    let threads: Result<Vec<_>, _> = (0..10)
        .map(|_| {
            let asleep = Arc::clone(&asleep);
            Builder::new().stack_size(SMALL).spawn(move || {
                call(BYTES, || {
                    asleep.fetch_add(1, Ordering::AcqRel);
                    thread::park();
                })
            })
        })
        .collect();
    let threads = threads.map_err(failed("spawn"))?;
    let found = wait_until("not all of them sleep", || asleep.load(Ordering::Acquire) == threads.len())
        .and_then(|()| conserved());
    threads.iter().for_each(|thread| thread.thread().unpark());
    threads.into_iter().try_for_each(|thread| thread.join().unwrap())?;
    let (_, sample) = found?;
    check_eq!(sample.threads, 10, "threads that the walk found");
    check_eq!(sample.oracle, 20, "pages with live bytes, of both stacks of each");
    check!(sample.stack >= sample.oracle, "they keep {} pages", sample.stack);
    if stack::RESTS_AT_SWITCH && !stack::READS_ACCESSED_BITS && !stack::RESTS_BEFORE_SWITCH {
        // The stack that was left keeps its pages, and the temporary one its top page.
        check_eq!(sample.stack, 10 * (1 + stack::pages_of(SMALL)), "pages that they keep");
    }
    Ok(())
}

fn no_stack_is_borrowed_where_nobody_may_sleep() -> Outcome {
    let (mut found, called) = (Ok(()), AtomicBool::new(false));
    let asked = || stack::call_with(BYTES, || called.store(true, Ordering::Release));
    provoke::with_interrupts_off(|| found = asked());
    check_eq!(found, Err(CallError::MayNotSleep), "calling with interrupts off");
    provoke::with_console_locked(|| found = asked());
    check_eq!(found, Err(CallError::MayNotSleep), "calling with preemption off");
    check!(!called.into_inner(), "it was called all the same");
    Ok(())
}

fn a_stack_that_does_not_exist_is_an_error() -> Outcome {
    let found = stack::call_with((1 << 20) + 1, || ());
    check_eq!(found, Err(CallError::NoStack(StackError::TooLarge { bytes: (1 << 20) + 1 })), "calling with too much");
    // The largest that there is, which no policy is asked about.
    check!(call(1 << 20, || use_stack(900 << 10))?, "a canary was changed");
    Ok(())
}

fn without_memory_no_stack_is_borrowed() -> Outcome {
    let (go, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let calls = Arc::clone(&go);
    let caller = Builder::new().spawn(move || {
        while !calls.load(Ordering::Acquire) {
            thread::park();
        }
        stack::call_with(1 << 20, || ())
    });
    let caller = caller.map_err(failed("spawn"))?;
    let threads = take_all(&stop);
    go.store(true, Ordering::Release);
    caller.thread().unpark();
    let came_back = wait_until("who calls waits for memory that nobody gives up", || caller.is_finished());
    stop.store(true, Ordering::Release);
    threads.iter().for_each(|thread| thread.thread().unpark());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    came_back?;
    match caller.join().unwrap() {
        Err(CallError::NoStack(StackError::NoFrame { .. })) => Ok(()),
        other => Err(alloc::format!("calling without memory: {other:?}")),
    }
}
