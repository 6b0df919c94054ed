//! What threads do to page tables, TLBs and stack caches that wake each other across CPUs, or move to another one each time they sleep.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, CpuSet, JoinHandle, Priority};
use ebbtide::{println, stack};

use crate::pair::wake_each_other;
use crate::part::Part;

/// Threads that move, for each CPU.
const MOVERS_PER_CPU: u64 = 16;

/// Calls of a thread that sleeps as deep as it gets. On its lowest page, but with room for a preemption below that.
const DEEPEST: u64 = 22;

/// Bytes of stack that it has in use then, at most.
const DEEPEST_BYTES: usize = 12 << 10;

/// After how many moves of one of them the caches are looked at.
const MOVES_PER_LOOK: u64 = 16;

/// Measures it, and returns the record's keys with their values: two threads on two CPUs wake each other, `rounds` times each, first on
/// CPUs that have nothing else to do, then on busy ones; and others move so often, all together.
pub fn keys(rounds: u64, moves: u64) -> String {
    let pair = |count: fn(u64, &dyn Fn() -> u64) -> Part| wake_each_other(rounds, on(1), count);
    let idle = pair(|least, wakes| Part::with_idling(least, wakes));
    let busy = keep_busy();
    let steady = pair(|least, wakes| Part::across(least, wakes));
    busy.end();
    let (moved, most) = move_about(moves);
    println!("moves: {} in {} switches", moved.insns, moved.switches());
    format!(
        "{} {} {} cache_most_frames={most}",
        idle.writes_per_switch("across_"),
        steady.writes_per_switch("across_busy_"),
        moved.writes_per_switch("move_"),
    )
}

/// Makes threads that stay on one CPU.
pub fn on(cpu: u32) -> Builder {
    Builder::new().affinity(CpuSet::only(cpu)).expect("that CPU runs")
}

/// A thread on each CPU that runs when no other does.
struct Busy {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

fn keep_busy() -> Busy {
    let over = Arc::new(AtomicBool::new(false));
    let began = Arc::new(AtomicUsize::new(0));
    let lowest = Priority::new(0).expect("the lowest");
    let spawn = |cpu| {
        let (over, began) = (Arc::clone(&over), Arc::clone(&began));
        let body = move || {
            began.fetch_add(1, Ordering::Release);
            while !over.load(Ordering::Acquire) {
                thread::yield_now();
            }
        };
        on(cpu).priority(lowest).spawn(body).expect("there is memory for it")
    };
    let threads: Vec<_> = (0..cpus()).map(spawn).collect();
    while began.load(Ordering::Acquire) < threads.len() {
        thread::park_timeout(core::time::Duration::from_millis(1));
    }
    Busy { over, threads }
}

impl Busy {
    fn end(self) {
        self.over.store(true, Ordering::Release);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a panic ends the run"));
    }
}

/// Threads on all CPUs that go to sleep at another depth each time, and go on on the next CPU, which wants their pages: until they have
/// done so `moves` times. Also returns the most frames that were seen in one CPU's cache meanwhile.
fn move_about(moves: u64) -> (Part, usize) {
    let movers = MOVERS_PER_CPU * u64::from(cpus());
    let (each, most) = (moves.div_ceil(movers), Arc::new(AtomicUsize::new(0)));
    let moved = Arc::new(AtomicU64::new(0));
    let spawn = |number: u64| {
        let (most, moved) = (Arc::clone(&most), Arc::clone(&moved));
        let body = move || {
            stack::ensure(DEEPEST_BYTES).expect("there is memory");
            for turn in 0..each {
                // 7 and 23 have no common divisor: all depths have their turn, others for each thread.
                at_depth((7 * turn + number) % (DEEPEST + 1), &mut || {
                    let next = (thread::current_cpu() + 1) % cpus();
                    thread::set_affinity(CpuSet::only(next)).expect("that CPU runs");
                    moved.fetch_add(u64::from(thread::current_cpu() == next), Ordering::Relaxed);
                });
                if turn % MOVES_PER_LOOK == 0 {
                    most.fetch_max(stack::caches().max().unwrap_or_default(), Ordering::Relaxed);
                }
            }
        };
        on((number % u64::from(cpus())) as u32).spawn(body).expect("there is memory for them")
    };
    let part = Part::with_idling(each * movers, || {
        let threads: Vec<_> = (0..movers).map(spawn).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a panic ends the run"));
        moved.load(Ordering::Relaxed)
    });
    assert_eq!(part.insns, each * movers, "moves that led to the next CPU");
    (part, most.load(Ordering::Relaxed))
}

/// Calls itself so often, each time with something on the stack, and then `bottom`.
fn at_depth(depth: u64, bottom: &mut dyn FnMut()) {
    let canary = black_box([depth; 48]);
    if depth == 0 {
        bottom();
    } else {
        at_depth(depth - 1, bottom);
    }
    assert!(black_box(&canary).iter().all(|word| *word == depth), "a canary was changed");
}

fn cpus() -> u32 {
    thread::available_parallelism().map_or(1, |count| count.get() as u32)
}
