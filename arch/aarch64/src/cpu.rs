//! CPU control, and the running thread: TPIDR_EL1 holds it, and it names its CPU.
//!
//! A load relative to a per-CPU base takes two instructions, and a migration between the two would make the second one
//! touch another CPU's data. The running thread is the same wherever it runs; so it is what the register holds, and the
//! preemption count is the thread's own.
//!
//! PSTATE.A is clear wherever a thread may run, so that an SError is reported where it is found, and set in a trap handler,
//! where it waits for the handler's end: it must not overwrite what the handler has not yet saved. So is PSTATE.D, though
//! nothing is watched but by a test (MDSCR_EL1). Interrupts off is I and F, both.
#![expect(unsafe_code, reason = "privileged instructions")]

use core::arch::asm;
use core::fmt;
use core::ptr::from_ref;
use core::sync::atomic::{Ordering, compiler_fence};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::asm::{wfe, wfi};
use aarch64_cpu::registers::{
    CurrentEL, DAIF, ID_AA64DFR0_EL1, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, MDSCR_EL1, Readable, TPIDR_EL1, Writeable,
};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::thread::{Head, Thread};
use ebbtide_core::{System, VirtAddr, arch};

use crate::{Aarch64, float, trap, user};

/// PMCR_EL0: E, the counters run; LC, the cycle counter has 64 bits (D24.5.11).
const COUNTERS_RUN: u64 = 1 << 0 | 1 << 6;
/// PMCNTENSET_EL0: C, the cycle counter runs.
const CYCLE_COUNTER: u64 = 1 << 31;

/// What the CPU runs: a thread, or, before the first, what stands for one.
#[inline(always)]
fn head() -> &'static Head {
    let head: *const Head;
    // SAFETY: reads a register. `pure` although the switch writes it: what a thread reads there is itself, whenever and
    // wherever it runs, and no function goes on as another thread than it began as.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) head, options(pure, nomem, nostack, preserves_flags)) };
    // SAFETY: `set_per_cpu` set the register before anything asks, and the running thread keeps itself alive.
    unsafe { &*head }
}

// SAFETY: each method is the instructions that its name says.
unsafe impl arch::Cpu for Aarch64 {
    #[inline]
    fn disable_interrupts() -> bool {
        let enabled = Self::interrupts_enabled();
        Self::mask_interrupts();
        enabled
    }

    // Not by aarch64-cpu's `DAIF`, across whose writes the compiler may move memory accesses.
    #[inline]
    fn mask_interrupts() {
        // SAFETY: masks interrupts, and takes effect before the next instruction (C5.1.3).
        unsafe { asm!("msr daifset, #3", options(nostack, preserves_flags)) };
    }

    #[inline]
    fn enable_interrupts() {
        // SAFETY: whoever lets interrupts in is ready for them.
        unsafe { asm!("msr daifclr, #3", options(nostack, preserves_flags)) };
    }

    #[inline]
    fn interrupts_enabled() -> bool {
        !DAIF.is_set(DAIF::I)
    }

    fn wait_for_interrupt() {
        barrier::dsb(barrier::SY);
        // A pending interrupt ends the wait though it is masked (D1.6.2), so none slips in before.
        wfi();
        Self::enable_interrupts();
        // What is pending is taken here at the latest (D1.3.5.1).
        barrier::isb(barrier::SY);
        Self::mask_interrupts();
    }

    #[inline]
    fn relax() {
        // Not `spin_loop`, which is an ISB here: QEMU lets the next CPU run at a `yield`.
        // SAFETY: a hint.
        unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
    }

    fn halt() -> ! {
        loop {
            Self::mask_interrupts();
            wfi();
            // An interrupt that pends ends that wait though it is masked, and nobody takes it: this one it does not end (D1.6.1). And
            // QEMU lets the next CPU run.
            wfe();
        }
    }

    #[inline]
    fn per_cpu() -> &'static PerCpu {
        // SAFETY: the switch stores it before the thread runs, and per-CPU data lives as long as the kernel.
        unsafe { &*head().cpu.load(Ordering::Relaxed) }
    }

    #[inline]
    fn current() -> &'static Thread {
        // SAFETY: once threads run, the head is a thread's; it lies at the thread's own address.
        unsafe { &*from_ref(head()).cast::<Thread>() }
    }

    unsafe fn set_per_cpu(cpu: &'static PerCpu) {
        cpu.head.cpu.store(from_ref(cpu).cast_mut(), Ordering::Relaxed);
        TPIDR_EL1.set(from_ref(&cpu.head).expose_provenance() as u64);
    }

    #[inline]
    fn preempt_disable() {
        let count = &head().preempt_count;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // A barrier for the compiler, as a lock must be.
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    fn preempt_enable() {
        compiler_fence(Ordering::SeqCst);
        let count = &head().preempt_count;
        count.store(count.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    #[inline]
    fn preempt_count() -> u32 {
        head().preempt_count.load(Ordering::Relaxed)
    }

    #[inline]
    fn counter() -> u64 {
        let count: u64;
        // SAFETY: reads the cycle counter, which `init_boot_cpu` found and started. Not `nomem`, so that what is measured
        // stays on its side.
        unsafe { asm!("mrs {}, pmccntr_el0", out(reg) count, options(nostack, preserves_flags)) };
        count
    }

    #[inline(always)]
    fn frame_pointer() -> VirtAddr {
        let frame: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags)) };
        VirtAddr::new_truncate(frame)
    }

    #[inline(always)]
    fn stack_pointer() -> VirtAddr {
        let pointer: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
        VirtAddr::new_truncate(pointer)
    }
}

/// Why the CPU cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It lacks this.
    Feature(&'static str),
    /// The loader left it at this exception level.
    ExceptionLevel(u64),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature(what) => write!(f, "the CPU has no {what}; use a CPU model that has it (`--cpu max`)"),
            Self::ExceptionLevel(level) => {
                write!(f, "the loader left the CPU at exception level {level}, and not at 1 as the boot protocol asks")
            }
        }
    }
}

/// Takes over the boot CPU from the loader: current thread, vectors, first trap stack, cycle counter, PAN.
///
/// # Errors
///
/// The CPU lacks what the kernel cannot do without.
///
/// # Safety
///
/// Called once, on the boot CPU, with interrupts off, on SP_EL0.
pub unsafe fn init_boot_cpu<S: System>(cpu: &'static PerCpu) -> Result<(), Lack> {
    trap::note_first_stacks(cpu);
    // SAFETY: by the caller's promise; its trap stacks were noted right here.
    unsafe { init_cpu::<S>(cpu) }
}

/// Prepares the CPU that executes it: current thread, vectors, trap stack, cycle counter, PAN.
///
/// # Errors
///
/// The CPU lacks what the kernel cannot do without.
///
/// # Safety
///
/// Called once on each CPU, `cpu`, with everything masked, on SP_EL0; its trap stacks are noted and nobody else's.
pub(crate) unsafe fn init_cpu<S: System>(cpu: &'static PerCpu) -> Result<(), Lack> {
    // SAFETY: the first thing on this CPU.
    unsafe { <Aarch64 as arch::Cpu>::set_per_cpu(cpu) };
    let level = CurrentEL.read(CurrentEL::EL);
    if level != 1 {
        return Err(Lack::ExceptionLevel(level));
    }
    if ID_AA64MMFR0_EL1.matches_all(ID_AA64MMFR0_EL1::TGran4::NotSupported) {
        return Err(Lack::Feature("pages of 4 KiB"));
    }
    // 0: none; 0xf: one that is not Arm's (D24.2.61).
    if matches!(ID_AA64DFR0_EL1.read(ID_AA64DFR0_EL1::PMUVer), 0 | 0xf) {
        return Err(Lack::Feature("cycle counter (PMUv3)"));
    }
    // SAFETY: interrupts are off, and the stack in use is not the one for traps.
    unsafe { trap::init::<S>() };
    // The kernel is compiled without floating point and SIMD: who uses them all the same has gone astray.
    float::close();
    barrier::isb(barrier::SY);
    start_cycle_counter();
    if ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::PAN) != 0 {
        // SAFETY: the kernel touches what is EL0's only as EL0 may (see `user`). This is `msr pan, #1`, which the assembler
        // only knows for CPUs that all have it.
        unsafe { asm!(".inst 0xd500419f", options(nostack, preserves_flags)) };
    }
    user::init_cpu();
    // No breakpoint, watchpoint or step is an exception; the register's reset value is anything (D24.3.20).
    MDSCR_EL1.write(MDSCR_EL1::TDCC::SET);
    barrier::isb(barrier::SY);
    // SAFETY: the vectors are there for an SError.
    unsafe { asm!("msr daifclr, #12", options(nostack, preserves_flags)) };
    Ok(())
}

/// Lets the cycle counter run at EL1, with 64 bits; it goes on from what it shows.
fn start_cycle_counter() {
    // SAFETY: the filter is part of PMUv3, which is there; 0 counts at EL0 and EL1.
    unsafe { asm!("msr pmccfiltr_el0, xzr", options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("msr pmcntenset_el0, {}", in(reg) CYCLE_COUNTER, options(nomem, nostack, preserves_flags)) };
    // SAFETY: as above.
    unsafe { asm!("msr pmcr_el0, {}", in(reg) COUNTERS_RUN, options(nomem, nostack, preserves_flags)) };
    barrier::isb(barrier::SY);
}
