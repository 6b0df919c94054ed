//! How long interrupts are off: from where the kernel turns them off, or an interrupt comes in, to where they are on
//! again, in ticks of the cycle counter. Under QEMU's `-icount shift=0` these are instructions.
//!
//! What the CPU and the entry code do before the first line of Rust is not in it, nor what `audit` itself does.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::Cpu;
use crate::cpu::{self, PerCpu};
use crate::system::System;

/// A CPU's time without interrupts.
#[derive(Debug, Default)]
pub struct Interrupts {
    /// The cycle counter when they went off; 0 while they are on.
    off_since: AtomicU64,
    /// The longest stretch.
    longest: AtomicU64,
}

impl Interrupts {
    pub(crate) const fn new() -> Self {
        Self { off_since: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }
}

/// Interrupts have just gone off.
#[inline(always)]
pub(crate) fn interrupts_off<S: System>() {
    if S::AUDIT {
        S::Arch::per_cpu().interrupts.off_since.store(S::Arch::counter(), Ordering::Relaxed);
    }
}

/// Interrupts are about to go on.
#[inline(always)]
pub(crate) fn interrupts_on<S: System>() {
    if S::AUDIT {
        let interrupts = &S::Arch::per_cpu().interrupts;
        let since = interrupts.off_since.swap(0, Ordering::Relaxed);
        // 0 is the boot, in which nothing runs that could wait for an interrupt.
        if since > 0 {
            interrupts.longest.fetch_max(S::Arch::counter() - since, Ordering::Relaxed);
        }
    }
}

/// Runs `f` with interrupts off, without counting it.
pub(super) fn without_this<S: System>(cpu: &PerCpu, f: impl FnOnce()) {
    let before = S::Arch::counter();
    f();
    if cpu.interrupts.off_since.load(Ordering::Relaxed) > 0 {
        cpu.interrupts.off_since.fetch_add(S::Arch::counter() - before, Ordering::Relaxed);
    }
}

/// The longest stretch without interrupts on any CPU since this was last asked, in ticks of the cycle counter; nothing in
/// a build without `audit`.
pub fn longest_without_interrupts<S: System>() -> Option<u64> {
    let longest = |cpu: &'static PerCpu| cpu.interrupts.longest.swap(0, Ordering::Relaxed);
    S::AUDIT.then(|| cpu::without_preemption::<S, _>(|| S::kernel().cpus().map(longest).max()).unwrap_or(0))
}
