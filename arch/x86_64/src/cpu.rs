//! CPU control, and the per-CPU base: `gs:[…]`, so that an access is one instruction.
#![expect(unsafe_code, reason = "privileged instructions")]

use core::arch::asm;
use core::fmt;
use core::hint::spin_loop;
use core::mem::offset_of;
use core::ptr::from_ref;

use ebbtide_core::cpu::PerCpu;
use ebbtide_core::thread::Thread;
use ebbtide_core::{System, VirtAddr, arch};
use raw_cpuid::{CpuId, ExtendedFeatures};
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::GsBase;
use x86_64::registers::rflags::{self, RFlags};

use crate::{X86_64, trap, user};

// SAFETY: each method is the instruction that its name says.
unsafe impl arch::Cpu for X86_64 {
    #[inline]
    fn disable_interrupts() -> bool {
        let enabled = interrupts::are_enabled();
        interrupts::disable();
        enabled
    }

    #[inline]
    fn mask_interrupts() {
        interrupts::disable();
    }

    #[inline]
    fn enable_interrupts() {
        interrupts::enable();
    }

    #[inline]
    fn interrupts_enabled() -> bool {
        rflags::read().contains(RFlags::INTERRUPT_FLAG)
    }

    fn wait_for_interrupt() {
        // `sti` takes effect after the next instruction, so no interrupt slips in between the two.
        interrupts::enable_and_hlt();
        interrupts::disable();
    }

    #[inline]
    fn relax() {
        spin_loop();
    }

    fn halt() -> ! {
        loop {
            interrupts::disable();
            hlt();
        }
    }

    #[inline]
    fn per_cpu() -> &'static PerCpu {
        let this: *const PerCpu;
        // SAFETY: `init_boot_cpu` set the base before anything asks, and that field points to the structure.
        unsafe {
            asm!("mov {}, gs:[{}]", out(reg) this, const offset_of!(PerCpu, head.cpu),
                options(readonly, nostack, preserves_flags));
        }
        // SAFETY: per-CPU data lives as long as the kernel.
        unsafe { &*this }
    }

    #[inline]
    fn current() -> &'static Thread {
        let current: *const Thread;
        // SAFETY: as above. `pure, nomem` although the switch writes it: what a thread reads there is itself, whenever it
        // runs, and no function goes on as another thread than it began as.
        unsafe {
            asm!("mov {}, gs:[{}]", out(reg) current, const offset_of!(PerCpu, current),
                options(pure, nomem, nostack, preserves_flags));
        }
        // SAFETY: the running thread is alive, and keeps itself alive.
        unsafe { &*current }
    }

    unsafe fn set_per_cpu(cpu: &'static PerCpu) {
        cpu.head.cpu.store(from_ref(cpu).cast_mut(), core::sync::atomic::Ordering::Relaxed);
        let base = x86_64::VirtAddr::from_ptr(cpu);
        GsBase::write(base);
    }

    #[inline]
    fn preempt_disable() {
        // SAFETY: one instruction on this CPU's own count. It is a barrier for the compiler, as a lock must be.
        unsafe { asm!("inc dword ptr gs:[{}]", const offset_of!(PerCpu, head.preempt_count), options(nostack)) };
    }

    #[inline]
    fn preempt_enable() {
        // SAFETY: as above.
        unsafe { asm!("dec dword ptr gs:[{}]", const offset_of!(PerCpu, head.preempt_count), options(nostack)) };
    }

    #[inline]
    fn preempt_count() -> u32 {
        // If it is 0 the thread may be another CPU's by now, and its count is 0 there as well; if not, it keeps this CPU.
        Self::per_cpu().head.preempt_count.load(core::sync::atomic::Ordering::Relaxed)
    }

    #[inline]
    fn counter() -> u64 {
        // SAFETY: every x86_64 CPU has a TSC, and CR4.TSD keeps it readable here.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    #[inline(always)]
    fn frame_pointer() -> VirtAddr {
        let frame: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
        VirtAddr::new_truncate(frame)
    }

    #[inline(always)]
    fn stack_pointer() -> VirtAddr {
        let pointer: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
        VirtAddr::new_truncate(pointer)
    }
}

/// What the CPU lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack(&'static str);

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the CPU has no {}; use a CPU model that has it (`--cpu max`)", self.0)
    }
}

/// Takes over the boot CPU from the loader: control registers, per-CPU base, descriptor tables, first trap stack.
///
/// # Errors
///
/// The CPU lacks what the kernel cannot do without.
///
/// # Safety
///
/// Called once, on the boot CPU, with interrupts off, while the image can still be written (the entry code is
/// patched to this CPU).
pub unsafe fn init_boot_cpu<S: System>(cpu: &'static PerCpu) -> Result<(), Lack> {
    // SAFETY: the first thing on this CPU.
    unsafe { <X86_64 as arch::Cpu>::set_per_cpu(cpu) };
    let cpuid = CpuId::new();
    let extended = cpuid.get_extended_processor_and_feature_identifiers();
    if !extended.is_some_and(|features| features.has_execute_disable()) {
        return Err(Lack("no-execute pages (NX)"));
    }
    let features = cpuid.get_extended_feature_info();
    let smap = features.as_ref().is_some_and(ExtendedFeatures::has_smap);
    // SAFETY: interrupts are off, and the caller lets the entry code be patched.
    unsafe { trap::init::<S>(cpu, smap) };
    // SAFETY: CPUID says that there is NX, and the traps can be taken.
    unsafe { set_control_registers(features.as_ref()) };
    Ok(())
}

/// Makes the CPU that executes this, `cpu`, as [`init_boot_cpu`] has made the boot CPU. All CPUs are taken to have the same
/// features.
///
/// # Safety
///
/// Called once on each other CPU, with interrupts off and its trap stacks set.
pub(crate) unsafe fn init_secondary_cpu(cpu: &'static PerCpu) {
    // SAFETY: the first thing on this CPU.
    unsafe { <X86_64 as arch::Cpu>::set_per_cpu(cpu) };
    // SAFETY: the caller's promise.
    unsafe { trap::init_secondary(cpu) };
    // SAFETY: the boot CPU has NX, or it would have gone no further.
    unsafe { set_control_registers(CpuId::new().get_extended_feature_info().as_ref()) };
}

/// Sets the control registers of the CPU that executes this.
///
/// # Safety
///
/// The CPU has no-execute pages, and its descriptor tables are loaded.
unsafe fn set_control_registers(features: Option<&ExtendedFeatures>) {
    let has = |test: fn(&ExtendedFeatures) -> bool| features.is_some_and(test);
    // User mode reads neither clock nor counters, sets no base, and has no AVX.
    let float = Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    let mut cr4 = (Cr4::read() | Cr4Flags::PAGE_GLOBAL | Cr4Flags::TIMESTAMP_DISABLE | float)
        & !(Cr4Flags::PERFORMANCE_MONITOR_COUNTER | Cr4Flags::FSGSBASE | Cr4Flags::OSXSAVE);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, has(ExtendedFeatures::has_smep));
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, has(ExtendedFeatures::has_smap));
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, has(ExtendedFeatures::has_umip));
    // SAFETY: the kernel touches what is user mode's only where it says so (see `user`).
    unsafe { Cr4::write(cr4) };
    // Read-only pages bind the kernel too; and floating point is closed until a thread of user mode loads its registers.
    let float = Cr0Flags::NUMERIC_ERROR | Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::TASK_SWITCHED;
    let cr0 = (Cr0::read() | Cr0Flags::WRITE_PROTECT | float) & !Cr0Flags::EMULATE_COPROCESSOR;
    // SAFETY: paging stays on; what is written to is writable.
    unsafe { Cr0::write(cr0) };
    // SAFETY: the CPU has NX, by the caller's word; no entry of a loader's has the bit set.
    unsafe { Efer::update(|efer| efer.insert(EferFlags::NO_EXECUTE_ENABLE)) };
    user::init_cpu();
}
