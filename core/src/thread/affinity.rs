//! On which CPUs a thread may run: as on Linux (`sched_setaffinity(2)`), those of the thread that spawned it, unless it says
//! otherwise.

use core::fmt;

use crate::cpu::{self, MAX_CPUS};
use crate::system::System;
use crate::thread::schedule;

/// A set of CPUs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CpuSet(u32);

impl CpuSet {
    /// All CPUs, however many there are.
    pub const ALL: Self = Self((1 << MAX_CPUS) - 1);

    /// No CPU.
    pub const EMPTY: Self = Self(0);

    /// One CPU. A number that no CPU can have makes the set empty.
    pub const fn only(number: u32) -> Self {
        if (number as usize) < MAX_CPUS { Self(1 << number) } else { Self::EMPTY }
    }

    /// The set with this CPU added.
    #[must_use]
    pub const fn with(self, number: u32) -> Self {
        Self(self.0 | Self::only(number).0)
    }

    /// Says whether the CPU is one of them.
    pub const fn contains(self, number: u32) -> bool {
        self.0 & Self::only(number).0 != 0
    }

    /// Says whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The CPUs that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The CPUs' numbers, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..MAX_CPUS as u32).filter(move |number| self.contains(*number))
    }

    /// One bit for each CPU.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// None of the CPUs that a thread was to be bound to runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchCpu(pub CpuSet);

impl fmt::Display for NoSuchCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of the CPUs {:?} runs", self.0)
    }
}

impl core::error::Error for NoSuchCpu {}

/// The CPU that executes this; the thread may be on another one when it looks at the answer.
pub fn current_cpu<S: System>() -> u32 {
    cpu::without_preemption::<S, _>(|| cpu::this::<S>().number)
}

/// The CPUs that the running thread may run on.
pub fn affinity<S: System>() -> CpuSet {
    cpu::current::<S>().affinity()
}

/// Binds the running thread to these CPUs, and the threads that it spawns from then on: when this returns it runs on one of
/// them.
///
/// # Errors
///
/// None of them runs; nothing has changed then.
pub fn set_affinity<S: System>(cpus: CpuSet) -> Result<(), NoSuchCpu> {
    check::<S>(cpus)?;
    let me = cpu::current::<S>();
    me.set_affinity(cpus);
    S::kernel().placement.note_affinity(cpus);
    if !cpus.contains(current_cpu::<S>()) {
        // It may have been moved by itself meanwhile; to leave once more does no harm.
        schedule::move_on::<S>();
    }
    Ok(())
}

/// Checks that one of the CPUs runs.
pub(crate) fn check<S: System>(cpus: CpuSet) -> Result<(), NoSuchCpu> {
    let run = S::kernel().cpus().any(|cpu| cpus.contains(cpu.number));
    if run { Ok(()) } else { Err(NoSuchCpu(cpus)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = CpuSet::only(3).with(0);
        assert!(set.contains(0) && set.contains(3) && !set.contains(1));
        assert_eq!(set.iter().collect::<std::vec::Vec<_>>(), [0, 3]);
        assert_eq!(std::format!("{set:?}"), "{0, 3}");
        assert!(CpuSet::only(MAX_CPUS as u32).is_empty());
        assert_eq!(CpuSet::ALL.iter().count(), MAX_CPUS);
        assert_eq!(set.and(CpuSet::only(3)), CpuSet::only(3));
    }
}
