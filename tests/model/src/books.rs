//! What the model itself keeps of a state: where each CPU stands, what its TLB knows, and what a thread's stack has to be.

use std::cell::Cell;

/// Most CPUs.
pub const MAX_CPUS: usize = 3;

/// Most threads, idle ones included.
pub(crate) const MAX_THREADS: usize = 7;

/// Most pages of a stack.
pub(crate) const MAX_PAGES: usize = 4;

/// All of it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Books {
    /// Nanoseconds since boot.
    pub now: Cell<u64>,
    /// How often the timer may still come before it has to.
    pub ticks: Cell<u64>,
    /// How the run ended: the exit code, counted from 1.
    pub end: Cell<u64>,
    pub cpus: [Cpu; MAX_CPUS],
    pub threads: [Thread; MAX_THREADS],
}

/// A CPU. One without threads walks page tables and answers shootdowns, and that is all.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Cpu {
    pub interrupts: Cell<bool>,
    /// It has told the others that it will load the kernel's tables.
    pub joined: Cell<bool>,
    /// It has invalidated what it knew, and walks the kernel's tables.
    pub walks: Cell<bool>,
    /// It waits for an interrupt.
    pub halted: Cell<bool>,
    /// It has stopped for good.
    pub stopped: Cell<bool>,
    /// The interrupts of other CPUs that stand at the door, a bit for each vector.
    pub ipis: Cell<u8>,
    /// The vector that it takes at the point where it stands, counted from 1.
    pub takes: Cell<u8>,
    /// The CPU that it waits for, counted from 1, until that one answers.
    pub waits_for: Cell<u8>,
    /// The thread that runs.
    pub runs: Cell<u64>,
    /// The thread that was left for the one that runs, counted from 1, and how; 0 once that one has asked.
    pub left: Cell<u64>,
    pub leaving: Cell<u64>,
    /// What the timer is armed for; 0 if it is not.
    pub armed: Cell<u64>,
    /// The frame that each page has for the TLB; 0 if it does not know the page.
    pub tlb: [[Cell<u64>; MAX_PAGES]; MAX_THREADS],
}

impl Cpu {
    /// It takes interrupts.
    pub fn listens(&self) -> bool {
        !self.stopped.get() && (self.halted.get() || self.interrupts.get())
    }
}

/// A thread.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Thread {
    /// Bytes of its stack that are in use.
    pub depth: Cell<u64>,
    /// How often it did something that the run is judged by.
    pub done: Cell<u32>,
    /// It has come to its end.
    pub finished: Cell<bool>,
    /// It is in user mode, on its way there, or not yet back.
    pub is_in_user_mode: Cell<bool>,
    _reserved: [u8; 2],
    /// The frames that its pages had when it ran last.
    pub frames: [Cell<u64>; MAX_PAGES],
}
