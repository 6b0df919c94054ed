//! `audit`: a build that checks the invariants of stacks while it runs, and measures how long interrupts are off.
//!
//! At every switch it checks what concerns the two threads and this CPU's cache; at every 4,096th the whole machine; and
//! whenever a CPU goes idle with nothing ready, that no frame is lost. It also notes how deep threads go. A broken invariant ends the run
//! with 107 and says which one. The numbers are those of `docs/invariants.md`. All of it is behind [`AUDIT`](crate::System::AUDIT), a constant, but
//! what is measured where a thread has a part of its stack alone, which is behind [`PAINTS_STACKS`](crate::System::PAINTS_STACKS): other
//! builds have none of it.

mod border;
mod chains;
mod delays;
mod departure;
mod depth;
mod fault_words;
pub(crate) mod faults;
mod gather;
mod interrupts;
mod machine;
mod name;
mod threads;
mod top;
mod ways;

use core::fmt::{self, Write};

use crate::arch::Cpu;
use crate::console::Report;
use crate::cpu::{self, PerCpu};
use crate::report::End;
use crate::stack::Leaving;
use crate::stop::stop_others;
use crate::system::System;
use crate::thread::{Thread, placement};

pub use border::{Entries, stack_used_at_entries};
pub(crate) use border::{entered, left, painted};
pub(crate) use delays::{Delays, race};
pub use departure::{Departures, stack_used_at_switches};
pub(crate) use departure::{departed, departs};
pub use depth::{BUCKETS, Depths, depths};
pub(crate) use depth::{Deepest, interrupted, seen_here};
pub(crate) use gather::Gathering;
pub use interrupts::{Interrupts, longest_without_interrupts};
pub(crate) use interrupts::{interrupts_off, interrupts_on};
pub(crate) use machine::State;
pub(crate) use top::begin as begin_top;
pub(crate) use ways::{
    Way, begins, called, first, interrupted_by, preempted, preempts, report, returned, seen_in_trap, trapped,
};

/// The whole machine is checked at every so many switches.
const WHOLE_MACHINE_EVERY: u64 = 4096;

/// Prepares for a machine whose memory ends with frame number `frames`, and for the faults that `command_line` asks for. The heap is
/// there; interrupts are off.
pub fn prepare<S: System>(frames: usize, command_line: &str) {
    if S::AUDIT {
        machine::prepare::<S>(frames, command_line);
    }
}

/// Checks a switch from `left`, which is not yet handed on, to the running thread. Interrupts are off.
#[inline(always)]
pub(crate) fn switch<S: System>(cpu: &PerCpu, left: &'static Thread, leaving: Leaving) {
    if S::AUDIT {
        check_switch::<S>(cpu, left, leaving);
    }
}

#[inline(never)]
fn check_switch<S: System>(cpu: &PerCpu, left: &'static Thread, leaving: Leaving) {
    // What the check itself takes is not the kernel's.
    interrupts::without_this::<S>(cpu, || {
        threads::check_running::<S>(cpu, S::Arch::current());
        if leaving == Leaving::Exited {
            depth::ended::<S>(left);
        } else {
            threads::check_left::<S>(left);
            depth::left::<S>(left);
        }
        faults::switched::<S>(cpu);
        if cpu.with_stack_cache(|cache| cache.counters.switches).is_multiple_of(WHOLE_MACHINE_EVERY) {
            // Unless others are in the middle of something: then the next time.
            let _ = gather::alone::<S, _>(cpu, || machine::check::<S>());
        }
    });
}

/// Checks that no frame is lost. Called by the idle thread with interrupts on and preemption off, when nothing is ready, so
/// no thread here stands between taking a frame and putting it where it is counted; and none does on another CPU, if all are
/// idle.
pub(crate) fn quiescent<S: System>(cpu: &PerCpu) {
    // Looked at twice: it stops all the others, which is in vain while one of them is busy, and that may change until they stand
    // still.
    if S::AUDIT && placement::others_are_idle::<S>(cpu) {
        cpu::without_interrupts::<S, _>(|| {
            gather::alone::<S, _>(cpu, || {
                if placement::others_are_idle::<S>(cpu) {
                    machine::check_conservation::<S>();
                }
            })
        });
    }
}

/// Stands still while another CPU looks at the whole machine. Called by the handler of its interrupt.
#[inline(always)]
pub(crate) fn stand_still<S: System>(cpu: &PerCpu) {
    if S::AUDIT {
        gather::stand_still::<S>(cpu);
    }
}

/// Ends the run: `invariant` (its number) does not hold.
#[cold]
fn broken<S: System>(invariant: u32, what: fmt::Arguments<'_>) -> ! {
    stop_others::<S>();
    let _ = writeln!(Report::<S>::new(), "ebbtide: audit: invariant {invariant} is broken: {what}");
    crate::report::end::<S>(End::BrokenInvariant)
}
