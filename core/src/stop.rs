//! The end of a run on several CPUs: one of them reports, and all others stop.
//!
//! Whoever comes first ends the run. The others stop at once if interrupts are on there, or where they wait for a spin lock
//! or for a shootdown: a lock that the reporter holds is never freed, and it answers nobody. For one that does neither the
//! reporter waits a while, and goes on without.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::Cpu;
use crate::platform::{Ipi, Platform};
use crate::report::{self, End};
use crate::system::System;

/// How long the others may take to stop, in nanoseconds.
const PATIENCE_NS: u64 = 100_000_000;

/// Who ends the run, and who has stopped.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The number of the CPU that ends the run, counted from 1; 0 while it goes on.
    by: AtomicU32,
    /// The CPUs that have stopped, a bit each.
    stopped: AtomicU32,
    /// How often the reporter has looked whether a lock that it waits for is free.
    looks: AtomicU32,
}

/// After so many looks the reporter goes on without a lock: who held it has stopped.
const MOST_LOOKS: u32 = 1 << 20;

impl Stop {
    pub(crate) const fn new() -> Self {
        Self { by: AtomicU32::new(0), stopped: AtomicU32::new(0), looks: AtomicU32::new(0) }
    }
}

/// Makes all other CPUs stop, since this one ends the run. If another one does that already, this one stops.
pub(crate) fn stop_others<S: System>() {
    S::Arch::disable_interrupts();
    let stop = &S::kernel().stop;
    let me = S::Arch::per_cpu().number;
    match stop.by.compare_exchange(0, me + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(by) if by == me + 1 => return,
        Err(_) => stop_here::<S>(),
    }
    let running = S::kernel().cpus().fold(0, |running, cpu| running | 1 << cpu.number) & !(1_u32 << me);
    if running == 0 {
        return;
    }
    let mut others = running;
    while let Some(number) = others.checked_ilog2() {
        others &= !(1 << number);
        S::Platform::send_ipi(number, Ipi::Stop);
    }
    let deadline = S::Platform::now() + PATIENCE_NS;
    while stop.stopped.load(Ordering::Acquire) & running != running && S::Platform::now() < deadline {
        S::Arch::relax();
    }
}

/// Says whether a CPU ends the run.
#[inline]
pub(crate) fn is_the_end<S: System>() -> bool {
    S::kernel().stop.by.load(Ordering::Relaxed) != 0
}

/// Stops this CPU if another one ends the run. Called where it waits for another one. The reporter itself may wait for a lock
/// that a CPU held which has stopped, as in the message of a panic, which is the app's code: then it ends the run with less.
#[inline]
pub(crate) fn stop_if_the_run_ends<S: System>() {
    if is_the_end::<S>() {
        stop_unless_reporter::<S>();
    }
}

#[cold]
fn stop_unless_reporter<S: System>() {
    let me = S::Arch::per_cpu().number;
    let stop = &S::kernel().stop;
    if stop.by.load(Ordering::Relaxed) != me + 1 {
        stop_here::<S>();
    }
    if stop.looks.fetch_add(1, Ordering::Relaxed) >= MOST_LOOKS {
        report::end::<S>(End::Panic);
    }
}

/// Stops this CPU: another one ends the run.
pub(crate) fn stop_here<S: System>() -> ! {
    S::Arch::disable_interrupts();
    S::kernel().stop.stopped.fetch_or(1 << S::Arch::per_cpu().number, Ordering::AcqRel);
    S::Arch::halt()
}
