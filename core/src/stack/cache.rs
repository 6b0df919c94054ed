//! The per-CPU stack cache: frames in reserve for stacks, and the freeing of what rests.
//!
//! A switch never allocates: `schedule()` compares what the next thread lacks with this reserve and, when it is
//! short, refills it with interrupts on before it commits to the switch.
#![expect(unsafe_code, reason = "gives frames back to the allocator")]

use heapless::Vec;
use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::Paging;
use crate::audit;
use crate::cpu::{self, PerCpu};
use crate::settings::Settings;
use crate::stack::page::Stack;
use crate::stack::policy::StackPolicy;
use crate::stack::ring::{RING_NOTES, RestNote, RestingPage, Ring};
use crate::system::System;
use crate::thread::stack_wait;

/// What happened to a stack cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Switches.
    pub switches: u64,
    /// Entries of stack pages that were written.
    pub pte_writes: u64,
    /// Addresses of stack pages that were invalidated on every CPU.
    pub tlb_broadcast: u64,
    /// Frames that a switch took from the reserve.
    pub hits: u64,
    /// Switches for which the reserve did not suffice at first.
    pub misses: u64,
    /// Refills of the reserve, and of the room in the ring.
    pub refills: u64,
    /// Refills that did not bring what was needed.
    pub refills_failed: u64,
    /// Frames that the CPU gave to the allocator, which all CPUs refill from: what its reserve could not hold, and what it
    /// does not need while it is idle. So frames find their way back when threads sleep on one CPU and wake on another.
    pub frames_pumped: u64,
    /// How often a thread was parked: it had to wait for frames before it could be switched to.
    pub parked: u64,
    /// Pages that were rested.
    pub pages_rested: u64,
    /// Resting pages whose frame was freed.
    pub pages_freed: u64,
}

impl core::ops::Add for CacheCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            switches: self.switches + other.switches,
            pte_writes: self.pte_writes + other.pte_writes,
            tlb_broadcast: self.tlb_broadcast + other.tlb_broadcast,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            refills: self.refills + other.refills,
            refills_failed: self.refills_failed + other.refills_failed,
            frames_pumped: self.frames_pumped + other.frames_pumped,
            parked: self.parked + other.parked,
            pages_rested: self.pages_rested + other.pages_rested,
            pages_freed: self.pages_freed + other.pages_freed,
        }
    }
}

impl CacheCounters {
    /// Nothing has happened yet.
    const NONE: Self = Self {
        switches: 0,
        pte_writes: 0,
        tlb_broadcast: 0,
        hits: 0,
        misses: 0,
        refills: 0,
        refills_failed: 0,
        frames_pumped: 0,
        parked: 0,
        pages_rested: 0,
        pages_freed: 0,
    };
}

/// The frames of a reserve.
pub(crate) type CachedFrames = Vec<PhysAddr, { Settings::MAX_CACHE }>;

/// A CPU's reserve of frames for stacks.
#[derive(Debug)]
pub struct StackCache {
    frames: CachedFrames,
    /// Notes of what this CPU let rest.
    pub(crate) ring: Ring,
    /// What happened here.
    pub counters: CacheCounters,
}

impl StackCache {
    /// Creates an empty cache.
    pub const fn new() -> Self {
        Self { frames: Vec::new(), ring: Ring::new(), counters: CacheCounters::NONE }
    }

    /// Where the frames of a cache are.
    ///
    /// # Safety
    ///
    /// `cache` points into an object that is there.
    pub(crate) const unsafe fn frames_in(cache: *const Self) -> *const CachedFrames {
        // SAFETY: by the caller's promise the field's place is in the object.
        unsafe { &raw const (*cache).frames }
    }

    /// Says whether a thread that lacks `need` frames can be switched to and, if the policy rests at a switch, the
    /// other one's rest be noted.
    #[inline]
    pub(crate) fn is_ready<P: StackPolicy>(&self, need: usize) -> bool {
        self.frames.len() >= need && (!P::RESTS_AT_SWITCH || self.has_room_for_a_note())
    }

    /// Says whether what rests next can be noted.
    pub(crate) fn has_room_for_a_note(&self) -> bool {
        self.ring.has_room()
    }

    /// The frames in reserve.
    pub(crate) fn frames(&self) -> impl Iterator<Item = PhysAddr> {
        self.frames.iter().copied()
    }

    /// Says whether a frame is in reserve.
    pub(crate) fn contains(&self, frame: PhysAddr) -> bool {
        self.frames.contains(&frame)
    }

    /// Number of frames in reserve.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Says whether there is no frame in reserve.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes a frame for the thread that is switched to.
    pub(crate) fn take_for_switch(&mut self) -> Option<PhysAddr> {
        self.counters.hits += 1;
        self.take()
    }

    /// Takes a frame from the reserve.
    pub(crate) fn take(&mut self) -> Option<PhysAddr> {
        self.frames.pop()
    }

    /// Puts a frame into the reserve; gives it back when the reserve already has `bound` frames.
    fn put(&mut self, frame: PhysAddr, bound: usize) -> Result<(), PhysAddr> {
        if self.frames.len() >= bound {
            return Err(frame);
        }
        self.frames.push(frame)
    }
}

impl Default for StackCache {
    fn default() -> Self {
        Self::new()
    }
}

/// The bound of a CPU's cache, in frames.
#[inline(always)]
fn bound<S: System>() -> usize {
    audit::faults::capped::<S>(S::kernel().settings.cache())
}

/// Refills this CPU's cache to `need` frames at least, and makes room in its ring.
///
/// Interrupts are on and preemption is off. Never sleeps. Returns whether the frames are there.
pub(crate) fn refill<S: System>(cpu: &PerCpu, need: usize) -> bool {
    let bound = bound::<S>();
    // A refill brings half of what the cache may hold, so that it is not repeated at the next switch.
    let target = need.max(bound / 2);
    cpu.with_stack_cache(|cache| {
        cache.counters.refills += 1;
        cache.counters.misses += u64::from(cache.len() < need);
        make_room_in::<S>(cache, bound);
        take_from_allocator::<S>(cpu, cache, target);
        if cache.len() < need {
            free_notes::<S>(cache, usize::MAX, bound);
        }
        let filled = cache.len() >= need;
        cache.counters.refills_failed += u64::from(!filled);
        filled
    })
}

/// Makes room in this CPU's ring, if there is none. Interrupts on, preemption off.
pub(crate) fn make_room<S: System>(cpu: &PerCpu) {
    let bound = bound::<S>();
    cpu.with_stack_cache(|cache| make_room_in::<S>(cache, bound));
}

fn make_room_in<S: System>(cache: &mut StackCache, bound: usize) {
    if !cache.ring.has_room() {
        cache.ring.compact::<S::Arch>();
        if cache.ring.len() > RING_NOTES / 2 {
            free_notes::<S>(cache, RING_NOTES / 2, bound);
        }
    }
}

/// Frees everything that this CPU let rest. Interrupts on, preemption off.
pub(crate) fn free_resting<S: System>(cpu: &PerCpu) {
    let bound = bound::<S>();
    cpu.with_stack_cache(|cache| free_notes::<S>(cache, usize::MAX, bound));
}

/// Gives back what the cache of this CPU holds beyond `reserve` frames. Interrupts on, preemption off.
pub fn trim<S: System>(cpu: &PerCpu, reserve: usize) {
    unreserve::<S>(cpu);
    let came = cpu.with_stack_cache(|cache| {
        let surplus = cache.len().saturating_sub(reserve);
        if surplus > 0 {
            cache.counters.frames_pumped += surplus as u64;
            S::kernel().frames.with::<S, _>(|frames| {
                for frame in cache.frames.drain(reserve..) {
                    // SAFETY: it came from the allocator, and no entry names it.
                    unsafe { frames.deallocate(frame) };
                }
            });
        }
        surplus > 0
    });
    if came {
        stack_wait::frames_came::<S>();
    }
}

/// Puts into this CPU's cache what its fault reserve holds beyond what the running thread lacks: nothing, under a policy that has
/// none. Interrupts on, preemption off.
#[inline]
pub(crate) fn unreserve<S: System>(cpu: &PerCpu) {
    if S::Policy::GROWS_ON_FAULT {
        let bound = bound::<S>();
        let mut surplus = Surplus::new();
        cpu.with_stack_cache(|cache| {
            while cpu.fault_reserve.len() > absent_here::<S>()
                && let Some(frame) = cpu.fault_reserve.take()
            {
                if let Err(frame) = cache.put(frame, bound) {
                    audit::faults::has_no_room::<S>(bound);
                    let pushed = surplus.push(frame);
                    assert!(pushed.is_ok(), "a reserve has room there");
                }
            }
            release::<S>(cache, &mut surplus);
        });
    }
}

/// Pages that the running thread lacks. A fault behind the look makes it less, and the reserve by as much.
fn absent_here<S: System>() -> usize {
    // SAFETY: it runs here, so it holds itself, and looks at one number.
    unsafe { cpu::current::<S>().stack_mut() }.absent()
}

fn take_from_allocator<S: System>(cpu: &PerCpu, cache: &mut StackCache, target: usize) {
    let bound = bound::<S>();
    audit::faults::refused::<S>(cpu, |frames| {
        while cache.len() < target
            && let Some(frame) = frames.allocate()
        {
            if let Err(frame) = cache.put(frame, bound) {
                audit::faults::has_no_room::<S>(bound);
                // SAFETY: it was allocated just now and nobody has seen it.
                unsafe { frames.deallocate(frame) };
                return;
            }
        }
    });
}

/// Frees what rests of the absent pages of a stack that its holder prepares for a thread. Interrupts on, preemption off.
pub(crate) fn free_absent<S: System>(cpu: &PerCpu, stack: &Stack) {
    if stack.resting::<S::Arch>().next().is_none() {
        return;
    }
    let bound = bound::<S>();
    cpu.with_stack_cache(|cache| {
        invalidate::<S>(&mut cache.counters, stack.resting::<S::Arch>());
        let mut surplus = Vec::new();
        stack.resting::<S::Arch>().for_each(|page| free_page::<S>(cache, &page, bound, &mut surplus));
        release::<S>(cache, &mut surplus);
        cpu.shootdown.end();
    });
}

/// Frees the pages of the oldest notes: invalidates the addresses of what rests on every CPU, and only then takes the
/// frames of what still rests with the note's generation. An entry that says something else was taken back meanwhile,
/// and nobody waits for it; one that rests again has another generation, and its turn comes with another note.
fn free_notes<S: System>(cache: &mut StackCache, most: usize, bound: usize) {
    let most = most.min(cache.ring.len());
    invalidate::<S>(&mut cache.counters, cache.ring.oldest(most).flat_map(RestNote::resting::<S::Arch>));
    let mut surplus = Vec::new();
    for _ in 0..most {
        let Some(note) = cache.ring.pop() else { break };
        note.resting::<S::Arch>().for_each(|page| free_page::<S>(cache, &page, bound, &mut surplus));
    }
    release::<S>(cache, &mut surplus);
    cpu::this::<S>().shootdown.end();
}

/// Invalidates the addresses of pages that rest on every CPU: a shootdown begins, if there are any.
fn invalidate<S: System>(counters: &mut CacheCounters, resting: impl Iterator<Item = RestingPage>) {
    let shootdown = &cpu::this::<S>().shootdown;
    let mut invalidated = 0;
    let count = |_: &VirtAddr| {
        if invalidated == 0 {
            shootdown.begin();
        }
        invalidated += 1;
    };
    S::Arch::invalidate_everywhere::<S>(resting.map(|page| page.address).inspect(count));
    counters.tlb_broadcast += invalidated;
    // With whoever takes pages back.
    audit::race::<S>();
}

fn free_page<S: System>(cache: &mut StackCache, page: &RestingPage, bound: usize, surplus: &mut Surplus) {
    let Some(frame) = page.free::<S::Arch>() else { return };
    cache.counters.pte_writes += 1;
    cache.counters.pages_freed += 1;
    if let Err(frame) = cache.put(frame, bound) {
        audit::faults::has_no_room::<S>(bound);
        if surplus.is_full() {
            release::<S>(cache, surplus);
        }
        let pushed = surplus.push(frame);
        assert!(pushed.is_ok(), "there is room");
    }
}

/// Frames beyond a cache's bound, on their way to the allocator: so many at a time, for one lock.
type Surplus = Vec<PhysAddr, 32>;

/// Pumps frames to the allocator, which other CPUs refill from.
fn release<S: System>(cache: &mut StackCache, surplus: &mut Surplus) {
    if surplus.is_empty() {
        return;
    }
    cache.counters.frames_pumped += surplus.len() as u64;
    S::kernel().frames.with::<S, _>(|frames| {
        while let Some(frame) = surplus.pop() {
            // SAFETY: it came from the allocator, and its page's entry is empty with every CPU's TLB invalidated.
            unsafe { frames.deallocate(frame) };
        }
    });
}
