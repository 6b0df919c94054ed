//! Interrupts: the local APIC. The 8259s are moved out of the exceptions' way and masked; the I/O APIC keeps its reset
//! state, in which every line is masked.
//!
//! The `x2apic` crate switches the local APIC on. What runs at every interrupt goes by `Register` instead: the crate's
//! handle belongs to one CPU, is neither `Send` nor `Sync`, and asks CPUID (which leaves a virtual machine) whenever it
//! is made.
//!
//! ```text
//! 0x20 timer   0x21 error of the local APIC   0x30..0x40 the 8259s (masked)   0xf0..0xf3 other CPUs   0xff spurious
//! ```
#![expect(unsafe_code, reason = "the local APIC is reached by MSRs or by its mapped page")]

use core::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::platform::{Interrupt, Ipi};
use raw_cpuid::CpuId;
use x2apic::lapic::{LocalApicBuilder, TimerDivide, TimerMode};
use x86_64::instructions::port::PortWriteOnly;
use x86_64::registers::model_specific::Msr;

use crate::time;

/// Vector of the timer.
pub const TIMER_VECTOR: u8 = 0x20;
/// Vector of the local APIC's own errors.
pub const ERROR_VECTOR: u8 = 0x21;
/// First of the 8259s' 16 vectors. They come only if somebody unmasks a line.
pub const PIC_VECTOR: u8 = 0x30;
/// Vectors of the interrupts by which other CPUs say: look for work; invalidate; stop. Those that others wait for are served
/// first, and before the timer's: of two that wait, a CPU takes the one with the higher vector.
pub const IPI_VECTORS: [(u8, Ipi); 3] = [(0xf0, Ipi::Reschedule), (0xf1, Ipi::Shootdown), (0xf2, Ipi::Stop)];
/// Vector of interrupts that were withdrawn before the CPU took them.
pub const SPURIOUS_VECTOR: u8 = 0xff;

const IA32_APIC_BASE: u32 = 0x1b;
const BASE_BOOT_CPU: u64 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const LVT_NMI: u32 = 0b100 << 8;

/// A register of the local APIC, by its offset in the xAPIC's page (Intel SDM volume 3, table 11-1). Its x2APIC MSR is
/// 0x800 plus a sixteenth of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register(u32);

impl Register {
    const ID: Self = Self(0x20);
    const TASK_PRIORITY: Self = Self(0x80);
    const END_OF_INTERRUPT: Self = Self(0xb0);
    const IN_SERVICE: Self = Self(0x100);
    const ERROR_STATUS: Self = Self(0x280);
    pub(crate) const COMMAND: Self = Self(0x300);
    /// The command's upper half, in the xAPIC alone: the x2APIC's register has 64 bits.
    pub(crate) const COMMAND_HIGH: Self = Self(0x310);
    pub(crate) const LVT_TIMER: Self = Self(0x320);
    const LVT_LINT0: Self = Self(0x350);
    const LVT_LINT1: Self = Self(0x360);
    const LVT_ERROR: Self = Self(0x370);
    pub(crate) const INITIAL_COUNT: Self = Self(0x380);
    pub(crate) const CURRENT_COUNT: Self = Self(0x390);

    /// Reads the register of the CPU that executes this. [`init`] has run.
    pub(crate) fn read(self) -> u32 {
        match XAPIC_PAGE.load(Ordering::Relaxed) {
            0 => {
                // SAFETY: x2APIC mode is on, where this MSR is the register; reading has no side effect.
                let value = unsafe { Msr::new(self.msr()).read() };
                value as u32
            }
            page => {
                // SAFETY: `init` was told that the local APIC's page is mapped there; `self` is a register in it.
                unsafe { self.pointer(page).read_volatile() }
            }
        }
    }

    /// Writes the register of the CPU that executes this. [`init`] has run.
    pub(crate) fn write(self, value: u32) {
        match XAPIC_PAGE.load(Ordering::Relaxed) {
            0 => {
                // SAFETY: x2APIC mode is on, where this MSR is the register. Vectors and masks that this crate sets
                // reach handlers that exist.
                unsafe { Msr::new(self.msr()).write(value.into()) };
            }
            page => {
                // SAFETY: as above, and `init` was told that the page is mapped.
                unsafe { self.pointer(page).write_volatile(value) };
            }
        }
    }

    pub(crate) const fn msr(self) -> u32 {
        0x800 + (self.0 >> 4)
    }

    const fn pointer(self, page: u64) -> *mut u32 {
        (page + self.0 as u64) as *mut u32
    }
}

/// Virtual address of the xAPIC's page, the same on every CPU; 0 in x2APIC mode. Set once, before the first interrupt.
static XAPIC_PAGE: AtomicU64 = AtomicU64::new(0);

/// Returns the physical address of the xAPIC's page, which [`init`] needs mapped as a device; `None` on a CPU with
/// x2APIC, whose registers are MSRs.
pub fn xapic_page() -> Option<u64> {
    // SAFETY: every x86_64 CPU has IA32_APIC_BASE; reading it has no side effect.
    (!has_x2apic()).then(|| unsafe { x2apic::lapic::xapic_base() })
}

/// Masks the 8259s and switches the local APIC of this CPU on, its timer stopped. `xapic_page` is the virtual address
/// at which [`xapic_page()`] is mapped, 0 if that is `None`. Interrupts are off.
///
/// # Errors
///
/// The CPU has no local APIC, or its page is not mapped.
pub fn init(xapic_page: u64) -> Result<(), &'static str> {
    if !CpuId::new().get_feature_info().is_some_and(|features| features.has_apic()) {
        return Err("the CPU has no local APIC");
    }
    let x2apic = has_x2apic();
    if !x2apic && xapic_page == 0 {
        return Err("the local APIC is not mapped");
    }
    XAPIC_PAGE.store(if x2apic { 0 } else { xapic_page }, Ordering::Relaxed);
    mask_8259s();
    enable(xapic_page)
}

/// Switches the local APIC of this CPU on.
fn enable(xapic_page: u64) -> Result<(), &'static str> {
    let mut apic = LocalApicBuilder::new()
        .timer_vector(TIMER_VECTOR.into())
        .error_vector(ERROR_VECTOR.into())
        .spurious_vector(SPURIOUS_VECTOR.into())
        .timer_mode(TimerMode::OneShot)
        .timer_divide(TimerDivide::Div1)
        .timer_initial(0)
        .set_xapic_base(xapic_page)
        .build()?;
    // SAFETY: the page is mapped, or the registers are MSRs; all three vectors have handlers.
    unsafe { apic.enable() };
    // The crate leaves the pins at vector 0, unmasked, and a local vector table that was written while the APIC was
    // off, when its mask bits cannot be cleared (Intel SDM volume 3, 11.4.7.2).
    Register::LVT_LINT0.write(LVT_MASKED);
    Register::LVT_LINT1.write(LVT_NMI);
    Register::LVT_ERROR.write(ERROR_VECTOR.into());
    Register::LVT_TIMER.write(LVT_MASKED | u32::from(TIMER_VECTOR));
    Register::TASK_PRIORITY.write(0);
    Ok(())
}

/// Switches the local APIC of another CPU on, as [`init`] has done on the boot CPU.
///
/// # Errors
///
/// The CPU's APIC is another one than the boot CPU's.
pub fn init_cpu() -> Result<(), &'static str> {
    if has_x2apic() != is_x2apic() {
        return Err("its local APIC is of another kind than the boot CPU's");
    }
    enable(XAPIC_PAGE.load(Ordering::Relaxed))
}

/// The identifier of the local APIC of the CPU that executes this.
pub(crate) fn id() -> u32 {
    let id = Register::ID.read();
    if is_x2apic() { id } else { id >> 24 }
}

/// Says whether the registers are MSRs. [`init`] has run.
pub(crate) fn is_x2apic() -> bool {
    XAPIC_PAGE.load(Ordering::Relaxed) == 0
}

/// Ends the interrupt that came in on `vector`, and says what it was.
pub fn end(vector: u8) -> Interrupt {
    match vector {
        TIMER_VECTOR => {
            time::refine();
            Register::END_OF_INTERRUPT.write(0);
            Interrupt::Timer
        }
        0xf0..=0xf2 => {
            Register::END_OF_INTERRUPT.write(0);
            Interrupt::Ipi(IPI_VECTORS[usize::from(vector - 0xf0)].1)
        }
        SPURIOUS_VECTOR => Interrupt::Spurious,
        ERROR_VECTOR => {
            // The write makes the register show what happened, and lets the next error be reported.
            Register::ERROR_STATUS.write(0);
            Register::END_OF_INTERRUPT.write(0);
            Interrupt::Unexpected(vector.into())
        }
        _ => {
            // Neither an `int` instruction nor the 8259s put anything in service: an end of interrupt for them would
            // end another.
            if in_service(vector) {
                Register::END_OF_INTERRUPT.write(0);
            }
            Interrupt::Unexpected(vector.into())
        }
    }
}

/// Says whether the local APIC waits for the end of `vector`: one bit each, 32 to a register.
fn in_service(vector: u8) -> bool {
    let word = Register(Register::IN_SERVICE.0 + u32::from(vector / 32) * 0x10);
    word.read() >> (vector % 32) & 1 != 0
}

/// Says whether this is the CPU that booted.
pub(crate) fn is_boot_cpu() -> bool {
    // SAFETY: every x86_64 CPU has IA32_APIC_BASE; reading it has no side effect.
    let base = unsafe { Msr::new(IA32_APIC_BASE).read() };
    base & BASE_BOOT_CPU != 0
}

fn has_x2apic() -> bool {
    CpuId::new().get_feature_info().is_some_and(|features| features.has_x2apic())
}

/// Moves the two 8259s to [`PIC_VECTOR`] and masks all their lines: initialisation words 1 to 4 of the 8259A's data
/// sheet, then the mask. Where there are none, the writes go nowhere.
fn mask_8259s() {
    const START_CASCADED: u8 = 0x11;
    const MODE_8086: u8 = 0x01;
    const ALL: u8 = 0xff;
    for (command, data, vector, wiring) in [(0x20, 0x21, PIC_VECTOR, 4), (0xa0, 0xa1, PIC_VECTOR + 8, 2)] {
        // SAFETY: starts the initialisation of an 8259, which the four bytes on its data port complete.
        unsafe { PortWriteOnly::<u8>::new(command).write(START_CASCADED) };
        for byte in [vector, wiring, MODE_8086, ALL] {
            // SAFETY: in this order: vector, wiring between the two, mode, mask. Nothing of it raises an interrupt.
            unsafe { PortWriteOnly::<u8>::new(data).write(byte) };
        }
    }
}
