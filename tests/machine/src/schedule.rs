//! What the machine does by chance: all of it from one seed.

use std::cell::RefCell;

/// When a TLB takes a translation that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Only when an access walks.
    OnUse,
    /// A random valid entry, at one step in this many.
    OneStepIn(u32),
    /// Every CPU takes every entry as soon as it is valid.
    Eager,
}

/// How the machine uses its freedom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Another CPU goes on at one step in this many.
    pub cpu_changes_one_in: u32,
    /// An interrupt that nobody asked for comes at one step in this many; never, if 0.
    pub interrupt_one_in: u32,
    /// An interrupt that nothing masks comes at one step in this many; never, if 0.
    pub nmi_one_in: u32,
    /// A walker misses an entry that is there, at one access in this many; never, if 0.
    pub spurious_fault_one_in: u32,
    /// When TLBs fill themselves.
    pub fill: Fill,
    /// A walker may set Accessed and Dirty in entries of stacks.
    pub walkers_may_write: bool,
    /// A walker that finds an entry that was never accessed leaves it to a handler to say otherwise.
    pub accesses_fault: bool,
    /// Most nanoseconds that a step takes.
    pub step_ns: u64,
    /// CPUs interrupt each other to invalidate, as on x86_64; else one does so for all, as on aarch64.
    pub interrupts_for_shootdowns: bool,
}

/// The machine's dice.
#[derive(Debug)]
pub(crate) struct Dice(RefCell<fastrand::Rng>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(RefCell::new(fastrand::Rng::with_seed(seed)))
    }

    /// Says yes one time in `n`; never, if that is 0.
    pub fn one_in(&self, n: u32) -> bool {
        n > 0 && self.0.borrow_mut().u32(0..n) == 0
    }

    /// A number from 0 to `most`.
    pub fn up_to(&self, most: u64) -> u64 {
        self.0.borrow_mut().u64(0..=most)
    }

    /// One of `n` things.
    pub fn pick(&self, n: usize) -> usize {
        self.0.borrow_mut().usize(0..n)
    }
}
