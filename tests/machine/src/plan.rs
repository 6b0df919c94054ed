//! A machine as a test wants it.

use ebbtide_core::System;
use ebbtide_core::memory::frames::Refusal;

use crate::hook;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::schedule::{Fill, Habits};
use crate::tamper::Wrong;

/// A machine that has not been started. The same plan gives the same run.
#[derive(Clone, Copy, Debug)]
#[must_use = "it does nothing until `run`"]
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) cpus: usize,
    pub(crate) frames: usize,
    pub(crate) cache: usize,
    pub(crate) forgets_after: u16,
    pub(crate) most_steps: u64,
    pub(crate) habits: Habits,
    pub(crate) wrong: Wrong,
    pub(crate) refusal: Refusal,
    pub(crate) faults: Option<&'static str>,
}

impl Plan {
    /// Plans a quiet machine: one CPU, 4 MiB, no interrupt but the timer's, time slices of 200,000 steps, and
    /// TLBs that take whatever is valid.
    pub fn new(seed: u64) -> Self {
        let habits = Habits {
            cpu_changes_one_in: 4,
            interrupt_one_in: 0,
            nmi_one_in: 0,
            spurious_fault_one_in: 0,
            fill: Fill::Eager,
            walkers_may_write: false,
            accesses_fault: seed.is_multiple_of(3),
            step_ns: 100,
            interrupts_for_shootdowns: seed.is_multiple_of(2),
        };
        let (wrong, refusal) = (Wrong::Nothing, Refusal::Never);
        let forgets_after = (seed / 6 % 4) as u16;
        Self {
            seed,
            cpus: 1,
            frames: 1024,
            cache: 64,
            forgets_after,
            most_steps: 500_000,
            habits,
            wrong,
            refusal,
            faults: None,
        }
    }

    /// Plans a machine that makes use of its freedom: `cpus` CPUs, interrupts out of nowhere, some of which nothing masks,
    /// spurious faults, and time slices of a few hundred steps.
    pub fn wild(seed: u64, cpus: usize) -> Self {
        let plan = Self::new(seed);
        let habits = Habits {
            interrupt_one_in: 50,
            nmi_one_in: 100,
            spurious_fault_one_in: 50,
            step_ns: 100_000,
            ..plan.habits
        };
        Self { cpus, habits, ..plan }
    }

    /// With `frames` frames of RAM.
    pub fn frames(self, frames: usize) -> Self {
        Self { frames, ..self }
    }

    /// With so many CPUs.
    pub fn cpus(self, cpus: usize) -> Self {
        Self { cpus, ..self }
    }

    /// With stack caches of at most so many frames: 16 to 128.
    pub fn cache(self, frames: usize) -> Self {
        Self { cache: frames, ..self }
    }

    /// With accesses that are forgotten at every so many-th switch away from a thread; never, if that is 0. For a policy that asks
    /// for accesses.
    pub fn forgets_after(self, switches: u16) -> Self {
        Self { forgets_after: switches, ..self }
    }

    /// With accesses that a handler notes, or the walker itself. For a policy that asks for accesses.
    pub fn accesses_fault(self, fault: bool) -> Self {
        Self { habits: Habits { accesses_fault: fault, ..self.habits }, ..self }
    }

    /// With TLBs that fill themselves so.
    pub fn fill(self, fill: Fill) -> Self {
        Self { habits: Habits { fill, ..self.habits }, ..self }
    }

    /// With a change of CPU at one step in `n`.
    pub fn cpu_changes_one_in(self, n: u32) -> Self {
        Self { habits: Habits { cpu_changes_one_in: n, ..self.habits }, ..self }
    }

    /// With a walker that misses an entry that is there, at one access in `n`; never, if that is 0.
    pub fn spurious_fault_one_in(self, n: u32) -> Self {
        Self { habits: Habits { spurious_fault_one_in: n, ..self.habits }, ..self }
    }

    /// With steps that take up to `ns` nanoseconds.
    pub fn step_ns(self, ns: u64) -> Self {
        Self { habits: Habits { step_ns: ns, ..self.habits }, ..self }
    }

    /// With a walker that may write: entries of stacks need not be Accessed and Dirty from the beginning.
    pub fn walkers_may_write(self) -> Self {
        Self { habits: Habits { walkers_may_write: true, ..self.habits }, ..self }
    }

    /// With a frame allocator that refuses these of the calls that [`Plan::run_tasks`] makes it get, until its tasks have
    /// ended.
    pub fn refusing(self, refusal: Refusal) -> Self {
        Self { refusal, ..self }
    }

    /// With faults, as the kernel's command line asks for them: `ebbtide.fault`, from where `main` begins. For a system that audits.
    pub fn faults(self, faults: &'static str) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// With a paging operation that does less than it should.
    pub fn wrong(self, wrong: Wrong) -> Self {
        Self { wrong, ..self }
    }

    /// Boots the machine and runs `main` in its main thread; the run ends when `main` returns.
    ///
    /// # Panics
    ///
    /// The model itself failed.
    pub fn run<S: System>(self, main: impl FnOnce() + Send + 'static) -> Outcome {
        hook::install();
        let host = std::thread::spawn(move || Machine::run::<S>(self, Box::new(main)));
        host.join().expect("the model itself did not panic")
    }
}
