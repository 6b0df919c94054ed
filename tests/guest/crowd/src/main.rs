//! A crowd of threads, as many on each CPU, that sleep at random depths and wake each other at random, on whatever CPU the
//! other is: some tokens go round among them, until they have been passed on so often.
//!
//! Where the command line asks for faults (`ebbtide.fault`), memory that is there is refused now and then: so whoever asks for some asks
//! several times.
//!
//! Each activation record has a canary. Before and afterwards every frame is accounted for; an image that audits itself looks at that
//! meanwhile, and whether each CPU's stack cache is within its bound.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ebbtide::sync::{Arc, OnceLock};
use ebbtide::thread::{self, Builder, CpuSet, Thread};
use ebbtide::{println, stack};
use ebbtide_figures::{Dice, Mean, conserved, word};

ebbtide::main!(main);

/// Tokens that are on their way at the same time, for each CPU.
const TOKENS_PER_CPU: usize = 16;

/// Canaries of a thread that sleeps as deep as it gets.
const DEEPEST: u64 = 24;

/// Bytes of stack that it has in use then, at most.
const DEEPEST_BYTES: usize = 12 << 10;

/// What the threads share.
struct Crowd {
    members: OnceLock<Vec<Thread>>,
    /// The tokens that lie at each member's.
    letters: Vec<AtomicU32>,
    /// How often a token was passed on.
    passed: AtomicU64,
    enough: u64,
    /// Canaries that were changed.
    broken: AtomicU64,
}

fn main() -> Result<(), String> {
    let (threads, enough) = (word("threads")?, word("wakes")? as u64);
    let cpus = thread::available_parallelism().unwrap().get();
    let crowd = Arc::new(Crowd {
        members: OnceLock::new(),
        letters: (0..threads).map(|_| AtomicU32::new(0)).collect(),
        passed: AtomicU64::new(0),
        enough,
        broken: AtomicU64::new(0),
    });
    let mut handles = Vec::with_capacity(threads);
    for number in 0..threads {
        let cpu = CpuSet::only((number % cpus) as u32);
        let spawn = || {
            let crowd = Arc::clone(&crowd);
            let builder = Builder::new().affinity(cpu).map_err(|error| format!("{error}"))?;
            builder.spawn(move || live(&crowd, number)).map_err(|error| format!("{error}"))
        };
        let handle = at_last(spawn);
        handles.push(handle.map_err(|error| format!("thread {number} of {threads}: {error}"))?);
    }
    let members = handles.iter().map(|handle| handle.thread().clone()).collect();
    assert!(crowd.members.set(members).is_ok(), "set once");
    stack::settle();
    conserved()?;
    let before = stack::counters();
    // The first letters; from then on the members are among themselves.
    for token in 0..TOKENS_PER_CPU * cpus {
        crowd.send(token % threads);
    }
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    stack::settle();
    conserved()?;
    let after = stack::counters();
    let broken = crowd.broken.load(Ordering::Acquire);
    assert_eq!(broken, 0, "canaries that were changed");
    let passed = crowd.passed.load(Ordering::Acquire);
    assert!(passed >= enough, "only {passed} tokens were passed on");
    let (switches, broadcasts) =
        (after.cache.switches - before.cache.switches, after.cache.tlb_broadcast - before.cache.tlb_broadcast);
    assert!(switches >= enough / 2, "only {switches} switches");
    println!(
        "{threads} threads on {cpus} CPUs woke each other {enough} times: {switches} switches, {} invalidations each, {} \
         refills failed, {} frames pumped, {} stack faults",
        Mean::new(broadcasts, switches),
        after.cache.refills_failed,
        after.cache.frames_pumped,
        after.stack_faults,
    );
    Ok(())
}

impl Crowd {
    /// Passes a token on, and wakes who gets it.
    fn send(&self, whom: usize) {
        self.letters[whom].fetch_add(1, Ordering::AcqRel);
        self.members.wait()[whom].unpark();
    }

    fn is_over(&self) -> bool {
        self.passed.load(Ordering::Acquire) >= self.enough
    }
}

/// Waits for tokens at a new depth each time, and passes each on, until there were enough. Then everybody is sent away.
fn live(crowd: &Crowd, me: usize) {
    let mut dice = Dice(me as u64 * 2 + 1);
    at_last(|| stack::ensure(DEEPEST_BYTES)).expect("there is memory");
    while !crowd.is_over() {
        let broken = wait_at(dice.below(DEEPEST + 1), crowd, me);
        crowd.broken.fetch_add(broken, Ordering::AcqRel);
        let letters = crowd.letters[me].swap(0, Ordering::AcqRel);
        for _ in 0..letters {
            crowd.send(dice.below(crowd.letters.len() as u64) as usize);
            if crowd.passed.fetch_add(1, Ordering::AcqRel) + 1 == crowd.enough {
                crowd.members.wait().iter().for_each(Thread::unpark);
            }
        }
    }
}

/// How often memory is asked for before it is taken for granted that there is none.
const TRIES: usize = 20;

/// Does what may be refused, again and again if it is.
fn at_last<T, E>(f: impl Fn() -> Result<T, E>) -> Result<T, E> {
    (1..TRIES).find_map(|_| f().ok()).map_or_else(f, Ok)
}

/// Calls itself `depth` times, each with a canary, sleeps in the deepest until there is something to do, and returns how many
/// canaries were changed meanwhile.
fn wait_at(depth: u64, crowd: &Crowd, me: usize) -> u64 {
    let word = depth ^ (me as u64) << 8;
    let canary = black_box([word; 40]);
    let broken = if depth > 0 {
        wait_at(depth - 1, crowd, me)
    } else {
        while crowd.letters[me].load(Ordering::Acquire) == 0 && !crowd.is_over() {
            thread::park();
        }
        0
    };
    broken + u64::from(black_box(&canary).iter().any(|found| *found != word))
}
