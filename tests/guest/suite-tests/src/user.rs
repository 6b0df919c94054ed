//! Threads in user mode: what they can do, and what becomes of their kernel stacks.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::stack;
use ebbtide::thread;
use ebbtide::time::{Duration, Instant};
use ebbtide::user::{self, Call, Error};

use crate::harness::{Dice, Outcome, failed, pass_time, wait_until};

tests![
    user_mode_computes_and_returns,
    user_mode_has_a_heap_of_its_own,
    what_user_mode_returns_is_copied_whole,
    text_of_the_image_can_be_written_from_user_mode,
    user_mode_sleeps_and_yields,
    user_mode_is_preempted,
    a_futex_wakes_who_waits,
    a_futex_gives_up_in_time,
    park_and_unpark_from_user_mode,
    user_mode_spawns_and_joins,
    threads_of_user_mode_come_and_go,
    registers_survive_calls_and_preemption,
    ; on one CPU:
    kernel_stacks_are_what_the_policy_says,
    user_mode_shares_the_cpu_with_the_kernel,
];

pub fn joined<T>(handle: user::JoinHandle<T>) -> Result<T, String>
where
    T: user::UserData,
{
    handle.join().map_err(failed("a thread in user mode"))
}

pub fn spawn<A: user::UserData, T: user::UserData>(f: fn(A) -> T, argument: A) -> Result<user::JoinHandle<T>, String> {
    user::Builder::new().spawn(f, argument).map_err(failed("spawning in user mode"))
}

fn user_mode_computes_and_returns() -> Outcome {
    let threads: Vec<_> = (0..8_u64).map(|n| spawn(|n: u64| n * n, n)).collect::<Result<_, _>>()?;
    for (n, thread) in threads.into_iter().enumerate() {
        check_eq!(joined(thread)?, (n * n) as u64, "the square of {n}");
    }
    check_eq!(joined(spawn(|()| u8::from(user::is_user_mode()), ())?)?, 1, "in user mode");
    check!(!user::is_user_mode(), "this thread is in the kernel");
    Ok(())
}

fn user_mode_has_a_heap_of_its_own() -> Outcome {
    let heap = stack::frames().heap;
    let thread = spawn(
        |rounds: u64| {
            let mut words = Vec::new();
            for n in 0..rounds {
                words.push(format!("{n} fathoms"));
            }
            words.iter().map(String::len).sum::<usize>() as u64 + Box::new(1_u64).as_ref()
        },
        1000,
    )?;
    check_eq!(joined(thread)?, 10 * 9 + 90 * 10 + 900 * 11 + 1, "bytes of a thousand words");
    check!(stack::frames().heap <= heap + 16, "the kernel's heap has grown by that");
    Ok(())
}

fn what_user_mode_returns_is_copied_whole() -> Outcome {
    let large: [u64; 512] = core::array::from_fn(|n| n as u64);
    let back = joined(spawn(
        |mut words: [u64; 512]| {
            words.reverse();
            words
        },
        large,
    )?)?;
    check!(back.iter().rev().eq(&large), "512 words come back in another order");
    check_eq!(joined(spawn(|()| (), ())?)?, (), "nothing");
    check_eq!(joined(spawn(|bytes: [u8; 3]| bytes.map(u8::reverse_bits), [1, 2, 3])?)?, [128, 64, 192], "three bytes");
    Ok(())
}

fn text_of_the_image_can_be_written_from_user_mode() -> Outcome {
    let written = joined(spawn(
        |()| {
            user::println!("a literal, and {}", String::from("what was made in user mode: äöü"));
            let long = "fathom ".repeat(64);
            user::raw_call(Call::Write as u64, [long.as_ptr() as u64, long.len() as u64, 0, 0, 0]).unwrap_or(0)
                + user::raw_call(Call::Write as u64, ["\n".as_ptr() as u64, 1, 0, 0, 0]).unwrap_or(0)
        },
        (),
    )?)?;
    check_eq!(written, 64 * 7 + 1, "bytes that were written");
    Ok(())
}

fn user_mode_sleeps_and_yields() -> Outcome {
    let start = Instant::now();
    let slept = joined(spawn(
        |nanoseconds: u64| {
            let before = user::uptime();
            user::sleep(Duration::from_nanos(nanoseconds));
            for _ in 0..100 {
                user::yield_now();
            }
            (user::uptime() - before).as_nanos() as u64
        },
        3_000_000,
    )?)?;
    check!(slept >= 3_000_000, "it slept for {slept} ns only");
    check!(u128::from(slept) <= start.elapsed().as_nanos(), "it slept for longer than it lived");
    Ok(())
}

fn user_mode_is_preempted() -> Outcome {
    // Twice as many as there are CPUs, and none gives way.
    let count = 2 * thread::available_parallelism().map_or(1, |n| n.get());
    let spinning: Vec<_> = (0..count).map(|_| spawn(spin, 100_000_000)).collect::<Result<_, _>>()?;
    let start = Instant::now();
    thread::sleep(Duration::from_millis(5));
    check!(start.elapsed() < Duration::from_secs(30), "the kernel's thread came late");
    for thread in spinning {
        check!(joined(thread)? >= 100_000_000, "it did not spin for as long as it should");
    }
    Ok(())
}

/// Spins for so many nanoseconds, and says for how many it did.
fn spin(nanoseconds: u64) -> u64 {
    let start = user::uptime();
    loop {
        for _ in 0..10_000 {
            pass_time();
        }
        let spun = (user::uptime() - start).as_nanos() as u64;
        if spun >= nanoseconds {
            return spun;
        }
    }
}

fn user_mode_shares_the_cpu_with_the_kernel() -> Outcome {
    let over = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU32::new(0));
    let theirs = (Arc::clone(&over), Arc::clone(&turns));
    let kernel = thread::spawn(move || {
        while !theirs.0.load(Ordering::Relaxed) {
            theirs.1.fetch_add(1, Ordering::Relaxed);
            thread::yield_now();
        }
    });
    let spun = joined(spawn(spin, 50_000_000)?)?;
    over.store(true, Ordering::Relaxed);
    kernel.join().map_err(failed("the kernel's thread"))?;
    check!(spun >= 50_000_000 && turns.load(Ordering::Relaxed) > 1, "one of the two had no turn");
    Ok(())
}

/// Two threads of user mode share a word of the first one's memory, whose address is given as a number.
fn a_futex_wakes_who_waits() -> Outcome {
    #[expect(unsafe_code, reason = "the word lies in the memory of user mode, and its thread waits")]
    fn wake(address: u64) -> u64 {
        // SAFETY: it is its parent's, which waits for this thread.
        let word = unsafe { &*(address as *const AtomicU32) };
        word.store(1, Ordering::Release);
        let mut woken = user::futex_wake(word, 8);
        while woken == 0 && word.load(Ordering::Acquire) == 1 {
            user::yield_now();
            woken = user::futex_wake(word, 8);
        }
        woken
    }
    fn wait(rounds: u64) -> [u64; 2] {
        let mut counts = [0; 2];
        for _ in 0..rounds {
            let word = AtomicU32::new(0);
            let Ok(child) = user::spawn_child(wake, (&raw const word).addr() as u64) else { return [u64::MAX; 2] };
            while word.load(Ordering::Acquire) == 0 {
                match user::futex_wait(&word, 0, None) {
                    Ok(()) => counts[0] += 1,
                    Err(_) => counts[1] += 1,
                }
            }
            word.store(2, Ordering::Release);
            if child.join().is_err() {
                return [u64::MAX; 2];
            }
        }
        counts
    }
    let [woken, changed] = joined(spawn(wait, 50)?)?;
    // The word may have changed before it was first looked at.
    check!(woken + changed <= 50, "{woken} waits were woken, and {changed} found the word changed");
    Ok(())
}

fn a_futex_gives_up_in_time() -> Outcome {
    let result = joined(spawn(
        |()| {
            let word = AtomicU32::new(7);
            let before = user::uptime();
            let late = user::futex_wait(&word, 7, Some(Duration::from_millis(2)));
            let waited = (user::uptime() - before).as_nanos() as u64;
            let changed = user::futex_wait(&word, 8, None);
            [late == Err(Error::TimedOut), waited >= 2_000_000, changed == Err(Error::Changed)].map(u8::from)
        },
        (),
    )?)?;
    check_eq!(result, [1; 3], "late, not too early, and changed");
    Ok(())
}

fn park_and_unpark_from_user_mode() -> Outcome {
    fn child(parent: u64) -> u64 {
        user::unpark(parent).is_ok().into()
    }
    let result = joined(spawn(
        |()| {
            let me = user::id();
            let Ok(child) = user::spawn_child(child, me) else { return 1 };
            user::park(None);
            // Once more, and nobody comes.
            let before = user::uptime();
            user::park(Some(Duration::from_millis(1)));
            if user::uptime() - before < Duration::from_millis(1) {
                return 2;
            }
            u64::from(child.join() != Ok(1)) * 3
        },
        (),
    )?)?;
    check_eq!(result, 0, "what went wrong, by number");
    Ok(())
}

fn user_mode_spawns_and_joins() -> Outcome {
    fn fork(depth: u64) -> u64 {
        if depth == 0 {
            return 1;
        }
        let children = [user::spawn_child(fork, depth - 1), user::spawn_child(fork, depth - 1)];
        children.into_iter().map(|child| child.and_then(user::Child::join).unwrap_or(1 << 32)).sum()
    }
    check_eq!(joined(spawn(fork, 3)?)?, 8, "leaves of a tree of threads");
    let result = joined(spawn(
        |()| {
            let Ok(child) = user::spawn_child(|n: u64| -> u64 { panic!("{n}") }, 1) else { return 1 };
            u64::from(child.join() != Err(Error::Ended)) * 2
        },
        (),
    )?)?;
    check_eq!(result, 0, "a child that panics");
    Ok(())
}

fn threads_of_user_mode_come_and_go() -> Outcome {
    let mut dice = Dice::new(11);
    for _ in 0..40 {
        let threads: Vec<_> = (0..dice.below(6) + 1)
            .map(|n| {
                spawn(
                    |n: u64| {
                        let memory = alloc::vec![n as u8; 1 + 997 * n as usize];
                        user::yield_now();
                        memory.iter().map(|byte| u64::from(*byte)).sum::<u64>()
                    },
                    n,
                )
            })
            .collect::<Result<_, _>>()?;
        for (n, thread) in threads.into_iter().enumerate() {
            check_eq!(joined(thread)?, (n * (1 + 997 * n)) as u64, "the sum of thread {n}");
        }
    }
    Ok(())
}

/// What a caller may rely on: nothing that a call or an interrupt changes which it must not.
fn registers_survive_calls_and_preemption() -> Outcome {
    fn mix(seed: u64) -> u64 {
        // As many values as no CPU has registers for, all in use at once.
        let mut values: [u64; 24] = core::array::from_fn(|n| seed.wrapping_mul(0x9e37_79b9).rotate_left(n as u32));
        for round in 0..20_000_u64 {
            for n in 0..values.len() {
                values[n] = values[n].rotate_left(7).wrapping_add(values[(n + 5) % 24] ^ round);
            }
            if round % 64 == 0 {
                user::null_call();
            }
            if round % 1024 == 0 {
                user::yield_now();
            }
        }
        values.into_iter().fold(0, |sum, value| sum ^ value)
    }
    fn expected(seed: u64) -> u64 {
        let mut values: [u64; 24] = core::array::from_fn(|n| seed.wrapping_mul(0x9e37_79b9).rotate_left(n as u32));
        for round in 0..20_000_u64 {
            for n in 0..values.len() {
                values[n] = values[n].rotate_left(7).wrapping_add(values[(n + 5) % 24] ^ round);
            }
        }
        values.into_iter().fold(0, |sum, value| sum ^ value)
    }
    let threads: Vec<_> = (1..=6).map(|seed| spawn(mix, seed)).collect::<Result<_, _>>()?;
    for (seed, thread) in (1..=6).zip(threads) {
        check_eq!(joined(thread)?, expected(seed), "the sum of thread {seed}");
    }
    Ok(())
}

/// Threads that sleep in a system call, and threads that were preempted in user mode.
fn kernel_stacks_are_what_the_policy_says() -> Outcome {
    const COUNT: usize = 8;
    let pages = |what| -> Result<usize, String> {
        let sample = stack::sample();
        check_eq!(sample.threads, COUNT, "threads that {what}");
        Ok(sample.stack / COUNT)
    };
    let sleepers: Vec<_> = (0..COUNT).map(|_| spawn(|()| user::park(None), ())).collect::<Result<_, _>>()?;
    stack::settle();
    let asleep = pages("sleep in a call")?;
    for sleeper in &sleepers {
        sleeper.thread().unpark();
    }
    sleepers.into_iter().try_for_each(joined)?;
    stack::settle();

    let whole = stack::unasked(4);
    let expected = match (stack::RESTS_AT_SWITCH || stack::SWEEPS, stack::GROWS_ON_FAULT) {
        (true, _) => 1..=1,
        // Unoptimised, what a call runs takes more than a page.
        (_, true) => 1..=if cfg!(debug_assertions) { 3 } else { 1 },
        _ => whole..=whole,
    };
    check!(expected.contains(&asleep), "a thread asleep in a call has {asleep} pages, expected {expected:?}");

    let owner = spawn(spinners, COUNT as u64)?;
    let top = if cfg!(debug_assertions) || stack::ASKS { 3 } else { 1 };
    let spinning = if stack::RESTS_AT_SWITCH || stack::CHANGES_AT_ENTRY { top } else { whole };
    // Besides there is the one that waits in a call.
    let most = spinning * COUNT + if stack::RESTS_AT_SWITCH { top } else { whole };
    // This thread shares the CPU with them, so none of them runs while it looks: they wait for their turn, in user mode.
    let outcome = wait_until("some have more pages than the policy leaves to a thread in user mode", || {
        let sample = stack::sample();
        sample.threads == COUNT + 1 && sample.stack <= most
    });
    // Whatever it is: else they would spin for ever.
    owner.thread().unpark();
    check_eq!(joined(owner)?, COUNT as u64, "threads that spun in user mode");
    outcome
}

/// Spawns threads that spin in user mode, making no call, until this thread is unparked. Returns how many ended then.
fn spinners(count: u64) -> u64 {
    #[expect(unsafe_code, reason = "the word lies in the memory of user mode, and its thread waits")]
    fn spin_on(address: u64) {
        // SAFETY: it is its parent's, which waits for this thread.
        let word = unsafe { &*(address as *const AtomicU32) };
        while word.load(Ordering::Acquire) == 0 {
            pass_time();
        }
    }
    let word = AtomicU32::new(0);
    let address = (&raw const word).addr() as u64;
    let children: Vec<_> = (0..count).map(|_| user::spawn_child(spin_on, address)).collect();
    user::park(None);
    word.store(1, Ordering::Release);
    children
        .into_iter()
        .filter(|child| child.is_ok())
        .map(|child| child.and_then(user::Child::join).is_ok() as u64)
        .sum()
}
