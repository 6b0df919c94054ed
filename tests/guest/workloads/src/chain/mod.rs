//! Producers and consumers across CPUs: threads that hand items to each other, and wake each other by it.
//!
//! Each thread takes an item from all that hand to it, goes as deep as its dice say, and hands on there, waiting for room where there is
//! none; so it sleeps deep where those behind it are slow, and with nothing on its stack where those before it are. The threads are bound
//! to the CPUs in turn. Nobody sleeps for a time, so one CPU is never idle, and its counter counts instructions.

mod wakes;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::sync::{Arc, Semaphore};
use ebbtide::thread::{self, Builder, CpuSet, JoinHandle};
use ebbtide::time::counter;
use ebbtide::{println, stack};
use ebbtide_figures::{Dice, Mean, settle_clock};

use crate::depths::{self, Depths};
use crate::memory::Memory;
use crate::words::Words;
use wakes::Edge;

/// The words that are known.
const KNOWN: &[&str] = &["threads", "wakes", "items", "ahead", "depths", "seed"];

/// What all threads of a chain share.
struct Chain {
    edges: Vec<Edge>,
    items: usize,
    depths: Depths,
    seed: u64,
    begin: Semaphore,
}

/// Runs the items through, and prints the record.
pub fn run(words: &[String]) -> Result<(), String> {
    let words = Words::new(words, KNOWN)?;
    let (threads, ahead) = (words.number("threads", 3..=1_000)?, words.number("ahead", 1..=1_000)?);
    let chain = Arc::new(Chain {
        edges: wakes::edges(words.text("wakes", "EDGES")?, threads, ahead)?,
        items: words.number("items", 1..=10_000_000)?,
        depths: words.depths()?,
        seed: words.seed()?,
        begin: Semaphore::new(0),
    });
    settle_clock();
    let handles = (0..threads).map(|number| spawn(&chain, number)).collect::<Result<Vec<_>, _>>()?;
    Memory::at_rest(threads)?;
    let (before, start) = (stack::counters(), counter());
    (0..threads).for_each(|_| chain.begin.release());
    for handle in handles {
        handle.join().map_err(|_| String::from("a thread of the chain panicked"))?;
    }
    let (insns, after) = (counter() - start, stack::counters());
    Memory::at_end(0)?;
    let each = |count: u64| Mean::new(count, chain.items as u64);
    println!(
        "ebbtide: record workload=chain chain_threads={threads} chain_items={} chain_item_insns={} chain_switches_per_item={} \
         chain_pte_writes_per_item={} chain_tlb_local_per_item={} chain_tlb_broadcast_per_item={}",
        chain.items,
        each(insns),
        each(after.cache.switches - before.cache.switches),
        each(after.cache.pte_writes - before.cache.pte_writes),
        each(after.tlb_local - before.tlb_local),
        each(after.cache.tlb_broadcast - before.cache.tlb_broadcast),
    );
    Ok(())
}

/// Spawns a thread of the chain, on a CPU in turn.
fn spawn(chain: &Arc<Chain>, number: usize) -> Result<JoinHandle<()>, String> {
    let failed = |error: &dyn core::fmt::Display| format!("thread {number} of the chain: {error}");
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let own = Arc::clone(chain);
    let builder = Builder::new().affinity(CpuSet::only((number % cpus) as u32)).map_err(|error| failed(&error))?;
    builder.spawn(move || own.pass_on_all(number)).map_err(|error| failed(&error))
}

impl Chain {
    /// What a thread does: so often as there are items.
    fn pass_on_all(&self, number: usize) {
        let mut dice = Dice::of(self.seed, number as u64);
        self.begin.acquire();
        for _ in 0..self.items {
            self.edges.iter().filter(|edge| edge.to == number).for_each(Edge::take);
            let mut hand_on = || self.edges.iter().filter(|edge| edge.from == number).for_each(Edge::hand_on);
            depths::go(self.depths.draw(&mut dice), &mut hand_on);
        }
    }
}
