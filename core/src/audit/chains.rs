//! The deepest use of a stack by each way into the kernel, and the chain of calls that it was: where the stack goes.
//!
//! A *way* is what a stack is used for: a thread's first function, a system call, an interrupt, an exception. A stack's owner knows by
//! number which way is on it ([`ways`](super::ways)). The room for all of them is made at the boot; who sees a stack allocates nothing
//! and waits for nobody. A way for which there is no room counts with the others, and the report says that there are some.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::name::{Name, WORDS};
use super::ways::Way;
use crate::cpu::MAX_CPUS;
use crate::thread::Thread;

/// Ways that are told from each other; the first stands for all others.
const WAYS: usize = 128;

/// Calls of a chain that are kept, those next to its deep end.
const CALLS: usize = 48;

/// A call: an instruction of a function, where it stands or goes on when what it has called returns; and at how many bytes below
/// the stack's top the function's part of the stack begins, counted from the deep end.
pub(super) type CallAt = (u64, u32);

/// The deepest use by each way.
#[derive(Debug)]
pub(super) struct Chains {
    ways: Box<[Deepest]>,
    /// There was no room for a way.
    lacks_room: AtomicBool,
    /// What each CPU preempts.
    pub preempts: [Interrupted; MAX_CPUS],
}

/// Where a trap has interrupted a thread whose stack has gone on from there: frame pointers lead past it.
#[derive(Debug, Default)]
pub(super) struct Interrupted {
    instruction: AtomicU64,
    /// 0: there is none.
    stack_pointer: AtomicU64,
}

impl Interrupted {
    pub fn set(&self, instruction: u64, stack_pointer: u64) {
        self.instruction.store(instruction, Ordering::Relaxed);
        self.stack_pointer.store(stack_pointer, Ordering::Relaxed);
    }

    pub fn clear(&self) {
        self.stack_pointer.store(0, Ordering::Relaxed);
    }

    /// Instruction and stack pointer.
    pub fn get(&self) -> Option<(u64, u64)> {
        let stack_pointer = self.stack_pointer.load(Ordering::Relaxed);
        (stack_pointer != 0).then(|| (self.instruction.load(Ordering::Relaxed), stack_pointer))
    }
}

/// The deepest use by one of them.
#[derive(Debug)]
struct Deepest {
    /// The way; 0 if there is none yet.
    key: AtomicU64,
    bytes: AtomicU32,
    /// Somebody writes what follows.
    is_taken: AtomicBool,
    thread: AtomicU64,
    name: [AtomicU64; WORDS],
    /// How many calls there are.
    calls: AtomicU32,
    chain: [Call; CALLS],
}

/// See [`CallAt`].
#[derive(Debug)]
struct Call {
    address: AtomicU64,
    depth: AtomicU32,
}

impl Deepest {
    const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            bytes: AtomicU32::new(0),
            is_taken: AtomicBool::new(false),
            thread: AtomicU64::new(0),
            name: [const { AtomicU64::new(0) }; WORDS],
            calls: AtomicU32::new(0),
            chain: [const { Call { address: AtomicU64::new(0), depth: AtomicU32::new(0) } }; CALLS],
        }
    }

    /// It is this way's, now at the latest.
    fn is(&self, key: u64) -> bool {
        let taken = self.key.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
        taken.map_or_else(|found| found == key, |_| true)
    }

    fn kind(&self) -> u64 {
        Way::kind_of(self.key.load(Ordering::Relaxed))
    }

    fn keep_name(&self, thread: &Thread) {
        self.name.iter().zip(Name::of(thread).words()).for_each(|(kept, word)| kept.store(word, Ordering::Relaxed));
    }

    fn name(&self) -> Name {
        Name::from_words(self.name.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }

    fn keep_chain(&self, chain: impl Iterator<Item = CallAt>) {
        let mut calls = 0;
        for (kept, (address, depth)) in self.chain.iter().zip(chain) {
            kept.address.store(address, Ordering::Relaxed);
            kept.depth.store(depth, Ordering::Relaxed);
            calls += 1;
        }
        self.calls.store(calls, Ordering::Relaxed);
    }
}

impl Chains {
    pub fn new() -> Self {
        let ways = (0..WAYS).map(|_| Deepest::new()).collect();
        Self { ways, lacks_room: AtomicBool::new(false), preempts: Default::default() }
    }

    /// The number of a way, which it keeps; 0 if there is no room for it.
    pub fn number_of(&self, way: Way) -> u32 {
        let key = way.key();
        let number = (1..self.ways.len()).find(|number| self.ways[*number].is(key));
        if number.is_none() {
            self.lacks_room.store(true, Ordering::Relaxed);
        }
        number.unwrap_or(0) as u32
    }

    /// `thread` was seen with `bytes` of its stack in use by the way with this number. Keeps that if it is the deepest yet, with the
    /// calls of `chain`, the innermost first. While somebody else notes one of the same way, this one is not kept.
    pub fn offer<I: Iterator<Item = CallAt>>(
        &self,
        number: u32,
        thread: &Thread,
        bytes: u32,
        chain: impl FnOnce() -> I,
    ) {
        let Some(deepest) = self.ways.get(number as usize) else { return };
        if bytes <= deepest.bytes.load(Ordering::Relaxed) || deepest.is_taken.swap(true, Ordering::Acquire) {
            return;
        }
        // Once more: another CPU may have been faster.
        if bytes > deepest.bytes.load(Ordering::Relaxed) {
            deepest.bytes.store(bytes, Ordering::Relaxed);
            deepest.thread.store(thread.id().0, Ordering::Relaxed);
            deepest.keep_name(thread);
            deepest.keep_chain(chain());
        }
        deepest.is_taken.store(false, Ordering::Release);
    }
}

impl fmt::Display for Chains {
    /// For programs: a line that says what follows, and one for each way that was seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = |deepest: &&Deepest| deepest.bytes.load(Ordering::Relaxed) > 0;
        let (ways, all) = (self.ways.iter().filter(seen).count(), !self.lacks_room.load(Ordering::Relaxed));
        write!(f, "ways={ways} all={}", u8::from(all))?;
        // By kinds, so that it does not hang on what came first.
        let of_kind = |kind| self.ways.iter().filter(seen).filter(move |deepest| deepest.kind() == kind);
        (0..Way::KINDS).flat_map(of_kind).try_for_each(|deepest| write!(f, "\nebbtide: way {deepest}"))
    }
}

impl fmt::Display for Deepest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = Way::of_key(self.key.load(Ordering::Relaxed));
        let (bytes, thread) = (self.bytes.load(Ordering::Relaxed), self.thread.load(Ordering::Relaxed));
        write!(f, "{way} bytes={bytes} thread={thread} name={} calls=", self.name())?;
        let calls = self.calls.load(Ordering::Relaxed) as usize;
        let mut comma = "";
        for call in self.chain.iter().take(calls) {
            let (address, depth) = (call.address.load(Ordering::Relaxed), call.depth.load(Ordering::Relaxed));
            write!(f, "{comma}{address:#x}:{depth}")?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::thread::Priority;

    fn offer(chains: &Chains, way: Way, bytes: u32, chain: &[CallAt]) {
        chains.offer(chains.number_of(way), &Thread::for_test(Priority::NORMAL), bytes, || chain.iter().copied());
    }

    #[test]
    fn each_way_keeps_its_deepest_alone() {
        let chains = Chains::new();
        offer(&chains, Way::Thread(0x1000), 300, &[(0x1010, 300), (0x1020, 100), (0x1030, 0)]);
        offer(&chains, Way::Thread(0x1000), 200, &[(0x1011, 200)]);
        offer(&chains, Way::Call(3), 80, &[(0x2010, 80)]);
        offer(&chains, Way::Call(3), 96, &[(0x2020, 96), (0x2030, 16)]);
        let text = chains.to_string();
        let lines: std::vec::Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ways=2 all=1",
                "ebbtide: way kind=thread of=0x1000 bytes=300 thread=0 name= calls=0x1010:300,0x1020:100,0x1030:0",
                "ebbtide: way kind=call of=Write bytes=96 thread=0 name= calls=0x2020:96,0x2030:16",
            ]
        );
    }

    #[test]
    fn a_way_without_room_counts_with_the_others_and_is_told() {
        let chains = Chains::new();
        for way in 0..WAYS as u64 + 5 {
            offer(&chains, Way::Thread(0x1000 + way), 100 + way as u32, &[]);
        }
        let text = chains.to_string();
        assert!(
            text.starts_with(&std::format!("ways={WAYS} all=0\nebbtide: way kind=other of=0 bytes=232 ")),
            "{text}"
        );
    }

    #[test]
    fn a_chain_that_is_too_long_keeps_its_deep_end() {
        let chains = Chains::new();
        let long: std::vec::Vec<_> = (0..100).map(|call| (0x1000 + u64::from(call), 1000 - call)).collect();
        offer(&chains, Way::Trap(14), 1000, &long);
        let text = chains.to_string();
        assert!(text.contains("kind=trap of=14 ") && text.contains("calls=0x1000:1000,"), "{text}");
        assert!(text.ends_with(&std::format!(":{}", 1000 - (CALLS as u32 - 1))), "{text}");
    }

    #[test]
    fn what_is_being_noted_is_left_alone() {
        let chains = Chains::new();
        let number = chains.number_of(Way::Call(0));
        chains.ways[number as usize].is_taken.store(true, Ordering::Relaxed);
        offer(&chains, Way::Call(0), 500, &[]);
        assert_eq!(chains.to_string(), "ways=0 all=1");
    }
}
