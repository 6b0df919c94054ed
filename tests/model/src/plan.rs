//! A model as a test wants it.

use std::num::NonZeroU64;

use ebbtide_core::thread::Priority;

use crate::memory::Memory;

/// Which CPUs a shootdown reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that have joined.
    Everywhere,
    /// The one that calls it: a mistake.
    Here,
}

/// When TLBs take translations that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// As soon as an entry is present, every CPU's does. What a TLB knows changes nothing that the kernel does, and whatever
    /// is wrong with less is wrong with more: so this finds all that the other finds.
    Eager,
    /// At any step, any CPU's may, or never.
    AnyTime,
}

/// What a CPU that has no threads does in the course of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walker {
    /// It was there from the beginning.
    Early,
    /// It comes at any time: it joins, then invalidates what it knows, then walks.
    Late,
    /// It walks before it joins: a mistake.
    WalksBeforeItJoins,
}

/// What a thread does.
pub(crate) type Program = &'static dyn Fn();

#[derive(Clone)]
pub(crate) struct ThreadPlan {
    pub cpu: usize,
    pub stack_bytes: u64,
    pub priority: Priority,
    /// It is the kernel's own thread that sweeps those that sleep.
    pub is_reclaimer: bool,
    pub program: Program,
}

/// Judges how a run ended: exit code, and what each thread has done.
pub(crate) type Judge = Box<dyn Fn(&Ended) -> bool>;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// The exit code: 101 when no thread is left, or all wait for each other; 103 on a deadlock on memory for stacks; none
    /// when every CPU waits for an interrupt, and none will come.
    pub code: Option<u8>,
    /// For each thread, whether it has come to its end.
    pub finished: Vec<bool>,
    /// For each thread, how often it did what the run is judged by ([`done`](crate::done)).
    pub done: Vec<u32>,
}

impl Ended {
    /// Says whether every thread has come to its end.
    pub fn all_finished(&self) -> bool {
        self.finished.iter().all(|finished| *finished)
    }
}

/// A model that was not built.
#[must_use = "it does nothing until it is explored"]
pub struct Plan {
    pub(crate) cpus: usize,
    pub(crate) frames: usize,
    pub(crate) ticks: u64,
    pub(crate) most_states: usize,
    pub(crate) reach: Reach,
    pub(crate) fill: Fill,
    pub(crate) walker: Option<Walker>,
    pub(crate) threads: Vec<ThreadPlan>,
    pub(crate) memory: Memory,
    pub(crate) between_cpus: bool,
    pub(crate) only_at_last_resort: bool,
    pub(crate) interrupts_for_shootdowns: bool,
    pub(crate) idles_at_once: bool,
    pub(crate) refuses: Option<NonZeroU64>,
    pub(crate) judge: Judge,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("cpus", &self.cpus).field("frames", &self.frames).finish_non_exhaustive()
    }
}

/// Bytes of stack of a model's thread, when it does not say otherwise: two pages.
pub const STACK_BYTES: u64 = 8 << 10;

impl Plan {
    /// Plans so many CPUs that run threads, and frames beside those that new threads and idle ones have. A run is to end with
    /// every thread at its end.
    pub fn new(cpus: usize, frames: usize) -> Self {
        Self {
            cpus,
            frames,
            ticks: 0,
            most_states: 3_000_000,
            reach: Reach::Everywhere,
            fill: Fill::Eager,
            walker: None,
            threads: Vec::new(),
            memory: Memory::default(),
            between_cpus: false,
            only_at_last_resort: false,
            interrupts_for_shootdowns: false,
            idles_at_once: false,
            refuses: None,
            judge: Box::new(|ended| ended.code == Some(101) && ended.all_finished()),
        }
    }

    /// Makes something that threads share a part of the model. It holds nothing but words, links and atomics: no memory of
    /// its own.
    pub fn share<T>(&mut self, value: T) -> &'static T {
        self.memory.keep(value)
    }

    /// Adds a thread of two pages that is ready on `cpu` from the beginning. Threads are numbered as they are added.
    pub fn thread(self, cpu: usize, program: impl Fn() + 'static) -> Self {
        self.thread_of(cpu, STACK_BYTES, Priority::NORMAL, program)
    }

    /// Adds a thread of so many bytes of stack.
    pub fn thread_of(mut self, cpu: usize, stack_bytes: u64, priority: Priority, program: impl Fn() + 'static) -> Self {
        let program = Box::leak(Box::new(program));
        self.threads.push(ThreadPlan { cpu, stack_bytes, priority, is_reclaimer: false, program });
        self
    }

    /// Adds the reclaimer, which is ready on `cpu` from the beginning.
    pub fn reclaimer(mut self, cpu: usize, program: impl Fn() + 'static) -> Self {
        self = self.thread(cpu, program);
        self.threads.last_mut().expect("one was added").is_reclaimer = true;
        // Its stack is always populated.
        self.frames += 1;
        self
    }

    /// With a timer that may fire so many times before it has to, whatever it is armed for.
    pub fn ticks(self, ticks: u64) -> Self {
        Self { ticks, ..self }
    }

    /// With shootdowns that reach these.
    pub fn reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// With TLBs that fill themselves so.
    pub fn fill(self, fill: Fill) -> Self {
        Self { fill, ..self }
    }

    /// With a frame allocator whose call of this number, counted from the beginning, finds none.
    pub fn refuses(self, call: NonZeroU64) -> Self {
        Self { refuses: Some(call), ..self }
    }

    /// With points at which others may come in in each step of the protocols between CPUs (placement, inboxes, the look whether
    /// anything can still happen, parking, shootdowns by interrupts), and with interrupts of other CPUs that come at any point
    /// with interrupts on. In return a page's entry is no such point, and idle threads take their own affairs at once.
    pub fn between_cpus(self) -> Self {
        Self { between_cpus: true, idles_at_once: true, ..self }
    }

    /// The same, but only while a CPU is at the last resort of those who wait for frames: what is done before, in each order of its
    /// steps, would make too many states.
    pub fn between_cpus_at_last_resort(self) -> Self {
        Self { only_at_last_resort: true, ..self.between_cpus() }
    }

    /// With idle threads that take their own affairs in one step, as with three CPUs.
    pub fn idles_at_once(self) -> Self {
        Self { idles_at_once: true, ..self }
    }

    /// With shootdowns that are core's, where CPUs interrupt each other; otherwise the model asks one after the other.
    pub fn interrupts_for_shootdowns(self) -> Self {
        Self { interrupts_for_shootdowns: true, ..self }
    }

    /// With one more CPU, which has no threads.
    pub fn walker(self, walker: Walker) -> Self {
        Self { walker: Some(walker), ..self }
    }

    /// With ends that are right if `judge` says so.
    pub fn judge(self, judge: impl Fn(&Ended) -> bool + 'static) -> Self {
        Self { judge: Box::new(judge), ..self }
    }
}
