//! All CPUs but one stand still, so that one can look at the whole machine.
//!
//! The others are interrupted and wait in the handler, with interrupts off. So whoever gathers them waits for them with
//! interrupts off as well, and only for a while: one of them may wait for a spin lock that a third one holds, which already
//! stands still. Then it lets them go, and looks another time.

use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::arch::Cpu;
use crate::cpu::PerCpu;
use crate::platform::{Ipi, Platform};
use crate::stop::stop_if_the_run_ends;
use crate::system::System;

/// How long the others may take to come, in nanoseconds: for as long as an emulator's host may stop one.
const PATIENCE_NS: u64 = 50_000_000;

/// Counts how often CPUs were gathered and let go: odd while they are to stand still.
#[derive(Debug)]
pub(crate) struct Gathering(AtomicU32);

impl Gathering {
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}

/// Runs `f` while all other CPUs stand still. Returns nothing if another CPU does that, or if they did not all come. Interrupts
/// are off.
pub(super) fn alone<S: System, R>(cpu: &PerCpu, f: impl FnOnce() -> R) -> Option<R> {
    let count = &S::kernel().gathering.0;
    let even = count.load(Ordering::Relaxed);
    let odd = even | 1;
    if even == odd || count.compare_exchange(even, odd, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return None;
    }
    // A CPU that joins does so, fences, and then looks whether it is to stand still: if it did not see that, it is seen here.
    fence(Ordering::SeqCst);
    let others = || S::kernel().cpus().filter(|other| !core::ptr::eq(*other, cpu));
    others().for_each(|other| S::Platform::send_ipi(other.number, Ipi::Reschedule));
    let all_came = || others().all(|other| other.gathered.load(Ordering::Acquire) == odd);
    let deadline = S::Platform::now() + PATIENCE_NS;
    while !all_came() && S::Platform::now() < deadline {
        stop_if_the_run_ends::<S>();
        S::Arch::relax();
    }
    let result = all_came().then(f);
    count.store(odd.wrapping_add(1), Ordering::Release);
    result
}

/// Stands still, if this CPU is asked to. Called by the handler of another CPU's interrupt.
pub(crate) fn stand_still<S: System>(cpu: &PerCpu) {
    let count = &S::kernel().gathering.0;
    let asked = count.load(Ordering::Acquire);
    if asked % 2 == 0 {
        return;
    }
    cpu.gathered.store(asked, Ordering::Release);
    while count.load(Ordering::Acquire) == asked {
        stop_if_the_run_ends::<S>();
        S::Arch::relax();
    }
}
