//! Floating-point and SIMD registers of threads in user mode: each thread has its own, whoever runs in between.

use alloc::vec::Vec;

use ebbtide::time::Duration;
use ebbtide::user;
use ebbtide::{provoke, thread};

use crate::harness::{Outcome, pass_time};
use crate::user::{joined, spawn};

tests![
    float_registers_survive_calls,
    float_registers_survive_preemption,
    no_thread_sees_what_another_had_in_a_float_register,
    a_thread_with_float_registers_ends,
];

/// Threads with registers, beside as many without.
const THREADS: u64 = 4;

/// Calls that return at once, that switch, and that sleep.
fn float_registers_survive_calls() -> Outcome {
    fn call(seed: u64) -> u64 {
        let calls: [fn(); 4] = [
            user::null_call,
            user::yield_now,
            || user::sleep(Duration::from_nanos(1)),
            || {
                let _ = user::spawn_child(|()| (), ()).map(user::Child::join);
            },
        ];
        let patterns = (1..=200).map(|turn| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn));
        let wrong = patterns.enumerate().filter(|(turn, pattern)| {
            !provoke::float_registers_survive(*pattern, || {
                calls[turn % calls.len()]();
                user::yield_now();
            })
        });
        wrong.count() as u64
    }
    let threads: Vec<_> = (1..=THREADS).map(|seed| spawn(call, seed)).collect::<Result<_, _>>()?;
    for (seed, thread) in (1..=THREADS).zip(threads) {
        check_eq!(joined(thread)?, 0, "calls that changed a register of thread {seed}");
    }
    Ok(())
}

/// Threads that do nothing but spin: only the timer switches between them.
fn float_registers_survive_preemption() -> Outcome {
    /// Some slices, at a few instructions each; the clock would be a call.
    const TURNS: u64 = 5_000_000;
    fn spin(seed: u64) -> u64 {
        let survive = provoke::float_registers_survive(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), || {
            (0..TURNS).for_each(|_| pass_time());
        });
        u64::from(survive)
    }
    let count = THREADS * thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let threads: Vec<_> = (1..=count).map(|seed| spawn(spin, seed)).collect::<Result<_, _>>()?;
    for (seed, thread) in (1..=count).zip(threads) {
        check_eq!(joined(thread)?, 1, "whether each register of thread {seed} is as it was");
    }
    Ok(())
}

/// One thread after the other, each the first to touch a register after one that has filled them all.
fn no_thread_sees_what_another_had_in_a_float_register() -> Outcome {
    fn look(seed: u64) -> u64 {
        let unused = provoke::float_registers_are_unused();
        provoke::float_registers_survive(seed, user::yield_now);
        u64::from(unused)
    }
    fn fill(seed: u64) -> u64 {
        (0..100).filter(|turn| !provoke::float_registers_survive(seed << 32 | turn, user::yield_now)).count() as u64
    }
    let fillers: Vec<_> = (1..=THREADS).map(|seed| spawn(fill, seed)).collect::<Result<_, _>>()?;
    for seed in 1..=32 {
        check_eq!(joined(spawn(look, seed)?)?, 1, "whether thread {seed} finds registers that nobody has written");
    }
    for filler in fillers {
        check_eq!(joined(filler)?, 0, "calls that changed a register of who filled them");
    }
    Ok(())
}

/// However it ends, and whatever it had: the next one begins anew.
fn a_thread_with_float_registers_ends() -> Outcome {
    let faults: [fn(u64) -> u64; 3] = [
        |seed| {
            let _ = provoke::float_registers_survive(seed, provoke::touch_wide_register);
            0
        },
        |seed| {
            let _ = provoke::float_registers_survive(seed, || panic!("with its registers full"));
            0
        },
        |seed| {
            let _ = provoke::float_registers_survive(seed, || provoke::call(0));
            0
        },
    ];
    for (seed, fault) in (1..).zip(faults) {
        check!(spawn(fault, seed)?.join().is_err(), "thread {seed} came back");
        check_eq!(
            joined(spawn(|()| u64::from(provoke::float_registers_are_unused()), ())?)?,
            1,
            "the thread after {seed}"
        );
    }
    Ok(())
}
