//! Fork and join: a thread spawns others, which spawn others, down to the leaves; each goes as deep as its dice say, and waits there for
//! those that it has spawned.
//!
//! The life of a stack is most of it: spawned, used, left, handed out again. Nobody sleeps for a time, so one CPU is never idle, and its
//! counter counts instructions.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, JoinHandle};
use ebbtide::time::counter;
use ebbtide::{println, stack};
use ebbtide_figures::{Dice, Mean, settle_clock};

use crate::depths::{self, Depths};
use crate::memory::Memory;
use crate::words::Words;

/// The words that are known.
const KNOWN: &[&str] = &["width", "levels", "rounds", "depths", "seed"];

/// Threads of a tree at most.
const MOST: usize = 100_000;

/// A tree of threads.
struct Tree {
    width: usize,
    levels: usize,
    depths: Depths,
    seed: u64,
}

/// A thread of it, which returns how many there were below it, and itself.
type Branch = JoinHandle<Result<usize, String>>;

/// Lets trees grow and end, and prints the record.
pub fn run(words: &[String]) -> Result<(), String> {
    let words = Words::new(words, KNOWN)?;
    let tree = Arc::new(Tree {
        width: words.number("width", 1..=1_000)?,
        levels: words.number("levels", 1..=16)?,
        depths: words.depths()?,
        seed: words.seed()?,
    });
    let rounds = words.number("rounds", 1..=1_000_000)?;
    let size = tree.size().filter(|size| *size <= MOST).ok_or_else(|| {
        format!("`width={}` and `levels={}` make a tree of more than {MOST} threads", tree.width, tree.levels)
    })?;
    settle_clock();
    let (before, start) = (stack::counters(), counter());
    let mut threads = 0;
    for round in 0..rounds {
        threads += join(tree.spawn(0, round * size)?)?;
    }
    let (insns, after) = (counter() - start, stack::counters());
    if threads != rounds * size {
        return Err(format!("{threads} threads ran, of {rounds} times {size}"));
    }
    let kept = Memory::at_end(0)?;
    let each = |count: u64| Mean::new(count, threads as u64);
    println!(
        "ebbtide: record workload=fork-join fork_threads={threads} fork_thread_insns={} fork_pte_writes_per_thread={} \
         fork_tlb_broadcast_per_thread={} fork_after_kib={}",
        each(insns),
        each(after.cache.pte_writes - before.cache.pte_writes),
        each(after.cache.tlb_broadcast - before.cache.tlb_broadcast),
        kept.total(),
    );
    Ok(())
}

impl Tree {
    /// Its threads, if they can be counted.
    fn size(&self) -> Option<usize> {
        (0..self.levels).try_fold(1_usize, |size, _| size.checked_mul(self.width)?.checked_add(1))
    }

    /// Spawns a thread of a level, with the dice of this number.
    fn spawn(self: &Arc<Self>, level: usize, number: usize) -> Result<Branch, String> {
        let tree = Arc::clone(self);
        let thread = Builder::new().spawn(move || tree.branch(level, number));
        thread.map_err(|error| format!("a thread of level {level}: {error}"))
    }

    /// What a thread does.
    fn branch(self: &Arc<Self>, level: usize, number: usize) -> Result<usize, String> {
        let mut dice = Dice::of(self.seed, number as u64);
        let below = if level < self.levels { self.width } else { 0 };
        // Numbers are dice: those of different threads may be the same, and are the same in each run.
        let spawn = |child| self.spawn(level + 1, (number * self.width) + child + 1);
        let mut children = (0..below).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let mut threads = Ok(1);
        let mut wait = || {
            for child in children.drain(..) {
                threads = join(child).and_then(|more| Ok(more + threads.clone()?));
            }
            // The leaves have nobody to wait for; while they are deep, others have their turn.
            if below == 0 {
                thread::yield_now();
            }
        };
        depths::go(self.depths.draw(&mut dice), &mut wait);
        threads
    }
}

/// Waits for a thread.
fn join(thread: Branch) -> Result<usize, String> {
    thread.join().map_err(|_| "a thread of the tree panicked".to_string())?
}
