//! How deep threads go on their kernel stacks: the deepest place at which each was seen, and how many threads that makes in each
//! of Linux's buckets.
//!
//! A thread is seen where its stack pointer is known anyway: when it has left its CPU, when a trap has interrupted it in the kernel, and
//! where its system calls begin. Nothing is painted: that would populate the pages whose absence is the point, and what a policy
//! takes and gives back would lose its paint. So what is told is the least that a thread has used: where it went deeper between
//! two sights, nobody saw it.
//!
//! At a switch it is the second half that looks. The saved stack pointer is exact there, with all that the switch has pushed; and who
//! looks stands on another stack, so that its own frames are none of the depth.
#![expect(
    unsafe_code,
    reason = "follows the notes of slots to their threads; threads have a field that only audits write"
)]

use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

use memory_addresses::VirtAddr;

use super::{interrupts, ways};
use crate::arch::{Cpu, Switch};
use crate::cpu;
use crate::report::Place;
use crate::stack::{self, MAX_STACK_BYTES, Note, SizeClass, Slot};
use crate::system::System;
use crate::thread::Thread;

/// Buckets: up to 1, 2, 4, … 64 KiB, and above. Linux's own, in which its counters `kstack_1k` to `kstack_rest` are kept.
pub const BUCKETS: usize = 8;

/// How many threads have gone how deep, as far as they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// Threads in each bucket, those that have ended included. Bucket `i` is for those that used up to `1 << i` KiB, and more than the
    /// one before; the last one for all that used more.
    pub threads: [u32; BUCKETS],
    /// The deepest that any of them has gone, in bytes.
    pub deepest: u32,
}

impl Depths {
    /// The bucket of a thread that has used `bytes` of its stack.
    pub const fn bucket_of(bytes: u32) -> usize {
        let mut bucket = 0;
        while bucket < BUCKETS - 1 && bytes > Self::most_in(bucket) {
            bucket += 1;
        }
        bucket
    }

    /// The most that a thread of a bucket has used, in bytes; of the last one it is what the one before has, and more.
    const fn most_in(bucket: usize) -> u32 {
        1 << (10 + bucket)
    }

    /// A thread that has used `bytes`; none if it was never seen.
    fn add(&mut self, bytes: u32) {
        if bytes > 0 {
            self.threads[Self::bucket_of(bytes)] += 1;
            self.deepest = self.deepest.max(bytes);
        }
    }
}

impl fmt::Display for Depths {
    /// A line that says what follows, a line for each bucket, and all of it once more as a record for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u32 = self.threads.iter().sum();
        writeln!(f, "deepest use of {all} kernel stacks, as seen at switches, traps and system calls:")?;
        for (bucket, threads) in self.threads.into_iter().enumerate() {
            let (word, kib) = if bucket < BUCKETS - 1 { ("up to", 1 << bucket) } else { ("above", 1 << (bucket - 1)) };
            writeln!(f, "  {word} {kib:2} KiB {threads:7}")?;
        }
        write!(f, "ebbtide: record workload=depth depth_threads={all}")?;
        for (bucket, threads) in self.threads.into_iter().enumerate() {
            let (word, kib) = if bucket < BUCKETS - 1 { ("up_to", 1 << bucket) } else { ("above", 1 << (bucket - 1)) };
            write!(f, " depth_{word}_{kib}_kib={threads}")?;
        }
        write!(f, " depth_deepest_bytes={}", self.deepest)
    }
}

/// The threads that have ended, in their buckets.
#[derive(Debug)]
pub(super) struct Ended {
    threads: [AtomicU32; BUCKETS],
    deepest: AtomicU32,
}

impl Ended {
    pub const fn new() -> Self {
        Self { threads: [const { AtomicU32::new(0) }; BUCKETS], deepest: AtomicU32::new(0) }
    }

    fn add(&self, bytes: u32) {
        if bytes > 0 {
            self.threads[Depths::bucket_of(bytes)].fetch_add(1, Ordering::Relaxed);
            self.deepest.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    fn load(&self) -> Depths {
        Depths {
            threads: self.threads.each_ref().map(|threads| threads.load(Ordering::Relaxed)),
            deepest: self.deepest.load(Ordering::Relaxed),
        }
    }
}

/// How deep a thread was seen, in units of 8 bytes, and above that the number of what its stack is used for ([`chains`](super::chains)).
/// Nothing at all in a build that does not audit: there it is not even written.
#[derive(Debug)]
pub(crate) struct Deepest(MaybeUninit<AtomicU32>);

/// Bits of the depth: a stack has no more than that.
const DEPTH_BITS: u32 = 18;
const DEPTH: u32 = (1 << DEPTH_BITS) - 1;
const UNIT_BYTES: u32 = 8;

const _: () =
    assert!(2 * MAX_STACK_BYTES <= (UNIT_BYTES as u64) << DEPTH_BITS, "of a slot, a page at least is its guard");

impl Deepest {
    /// That of a build that does not audit.
    pub const fn unused() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// The thread is new, and was not seen yet.
    #[inline(always)]
    pub fn begin<S: System>(&mut self) {
        if S::AUDIT {
            self.0.write(AtomicU32::new(0));
        }
    }

    fn word<S: System>(&self) -> &AtomicU32 {
        assert!(S::AUDIT, "other builds do not look");
        // SAFETY: in a build that audits, each thread was made with `begin`.
        unsafe { self.0.assume_init_ref() }
    }

    /// The bytes; 0 before the thread was seen.
    pub(super) fn bytes<S: System>(&self) -> u32 {
        (self.word::<S>().load(Ordering::Relaxed) & DEPTH) * UNIT_BYTES
    }

    /// The thread was seen with so many bytes in use.
    fn raise<S: System>(&self, bytes: u32) {
        let word = self.word::<S>();
        // Whoever may note something of a thread holds it, or has interrupted it.
        let way = word.load(Ordering::Relaxed) & !DEPTH;
        word.fetch_max(way | bytes.div_ceil(UNIT_BYTES), Ordering::Relaxed);
    }

    /// The bytes, which are forgotten.
    fn take<S: System>(&self) -> u32 {
        (self.word::<S>().swap(0, Ordering::Relaxed) & DEPTH) * UNIT_BYTES
    }

    /// The number of what its stack is used for.
    pub(super) fn way<S: System>(&self) -> u32 {
        self.word::<S>().load(Ordering::Relaxed) >> DEPTH_BITS
    }

    pub(super) fn set_way<S: System>(&self, number: u32) {
        let with = |word: u32| Some(number << DEPTH_BITS | word & DEPTH);
        let _always = self.word::<S>().fetch_update(Ordering::Relaxed, Ordering::Relaxed, with);
    }
}

/// A trap has interrupted the running thread there, if there is one yet; if it was in the kernel.
#[inline(always)]
pub(crate) fn interrupted<S: System>(at: impl FnOnce() -> Option<Place>) {
    if S::AUDIT
        && let Some(at) = at()
    {
        look::<S>(at.stack_pointer, || Some(at));
    }
}

/// The running thread has entered the kernel, and is where the caller's stack pointer is.
#[inline(always)]
pub(crate) fn seen_here<S: System>() {
    if S::AUDIT {
        let stack_pointer = S::Arch::stack_pointer();
        look_from_here::<S>(stack_pointer);
    }
}

#[inline(never)]
fn look_from_here<S: System>(stack_pointer: VirtAddr) {
    let frame = ways::own_frame::<S>();
    // A trap would find what this does itself; and nobody else may come to note something of the same way meanwhile.
    cpu::without_interrupts::<S, _>(|| {
        look::<S>(stack_pointer, || ways::caller_of::<S>(frame).map(|at| Place { stack_pointer, ..at }));
    });
}

#[inline(always)]
fn look<S: System>(stack_pointer: VirtAddr, at: impl FnOnce() -> Option<Place>) {
    let cpu = S::Arch::per_cpu();
    if let Some(thread) = cpu.current() {
        // What it takes is not the interrupted code's, which may have interrupts off.
        interrupts::without_this::<S>(cpu, || note::<S>(thread, stack_pointer, at));
    }
}

/// `left` has left its CPU, and is not yet handed on. Interrupts are off.
pub(super) fn left<S: System>(left: &Thread) {
    let stack_pointer = left.saved_stack_pointer();
    // SAFETY: the thread has left by a switch, and its stack is there from the saved stack pointer up.
    note::<S>(left, stack_pointer, || unsafe { S::Arch::left_at(stack_pointer) });
    // If it was preempted, that is over for this CPU.
    ways::preempted::<S>();
}

/// The same of one that has ended: so each is seen once at least. It is counted with those from now on, and no more with the living.
pub(super) fn ended<S: System>(ended: &Thread) {
    left::<S>(ended);
    if let Some(kept) = S::kernel().audit.kept() {
        kept.ended.add(ended.deepest.take::<S>());
    }
}

/// A thread was seen with its stack pointer there, if that is on its stack at all: not on one for traps, which trap as well, nor on its
/// way from one stack to the next. In the emergency page it is.
fn note<S: System>(thread: &Thread, stack_pointer: VirtAddr, at: impl FnOnce() -> Option<Place>) {
    // That of a stack in which nothing is in use lies above it.
    let in_use = VirtAddr::new_truncate(stack_pointer.as_u64().wrapping_sub(1));
    if let Some((slot, Some(owner))) = stack::owner::<S>(in_use)
        && core::ptr::eq(owner, thread)
    {
        let bytes = (slot.top() - stack_pointer) as u32;
        thread.deepest.raise::<S>(bytes);
        ways::seen::<S>(thread, slot, at);
    }
}

/// How deep threads have gone: all that have ended, and all that live and were seen; nothing in a build that does not audit. While
/// other CPUs are busy, one that ends in this moment may be missing.
pub fn depths<S: System>() -> Option<Depths> {
    S::AUDIT.then(|| {
        look_from_here::<S>(S::Arch::stack_pointer());
        // Before the others, so that none is counted twice.
        let mut depths = S::kernel().audit.kept().map(|kept| kept.ended.load()).unwrap_or_default();
        SizeClass::all().for_each(|class| add_living::<S>(&mut depths, class));
        depths
    })
}

fn add_living<S: System>(depths: &mut Depths, class: SizeClass) {
    // The class's lock keeps threads from being freed while they are looked at.
    S::kernel().stacks.classes[class.index()].with::<S, _>(|slots| {
        for number in 0..slots.used {
            if let Some(entries) = stack::entries::<S>(Slot { class, number })
                && let Note::Owner(owner) = entries.note()
            {
                // SAFETY: the owner is cleared, under the class's lock, before its thread is freed.
                let owner: &Thread = unsafe { owner.as_ref() };
                depths.add(owner.deepest.bytes::<S>());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn buckets_are_linuxs() {
        for (bytes, bucket) in [(1, 0), (1024, 0), (1025, 1), (2048, 1), (4096, 2), (4097, 3), (16 << 10, 4)] {
            assert_eq!(Depths::bucket_of(bytes), bucket, "{bytes} bytes");
        }
        for (bytes, bucket) in [(64 << 10, 6), ((64 << 10) + 1, 7), (1 << 20, 7), (u32::MAX, 7)] {
            assert_eq!(Depths::bucket_of(bytes), bucket, "{bytes} bytes");
        }
    }

    #[test]
    fn who_was_never_seen_is_not_counted() {
        let ended = Ended::new();
        [0, 300, 5_000, 0, 8_192].into_iter().for_each(|bytes| ended.add(bytes));
        let mut depths = ended.load();
        [0, 70_000].into_iter().for_each(|bytes| depths.add(bytes));
        assert_eq!(depths, Depths { threads: [1, 0, 0, 2, 0, 0, 0, 1], deepest: 70_000 });
    }

    #[test]
    fn what_is_printed_is_for_people_and_for_programs() {
        let text = Depths { threads: [3, 188, 11_391, 243, 0, 0, 0, 7], deepest: 66_000 }.to_string();
        let lines: std::vec::Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("deepest use of 11832 kernel stacks"), "{text}");
        assert_eq!((lines[1], lines[3]), ("  up to  1 KiB       3", "  up to  4 KiB   11391"));
        assert_eq!((lines[7], lines[8]), ("  up to 64 KiB       0", "  above 64 KiB       7"));
        assert_eq!(
            lines[9],
            "ebbtide: record workload=depth depth_threads=11832 depth_up_to_1_kib=3 depth_up_to_2_kib=188 \
             depth_up_to_4_kib=11391 depth_up_to_8_kib=243 depth_up_to_16_kib=0 depth_up_to_32_kib=0 \
             depth_up_to_64_kib=0 depth_above_64_kib=7 depth_deepest_bytes=66000"
        );
        assert_eq!(lines.len(), 10);
    }
}
