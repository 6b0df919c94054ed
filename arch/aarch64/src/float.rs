//! Floating point and SIMD of threads in user mode.
//!
//! Closed by CPACR_EL1.FPEN, which traps EL0 and EL1. SVE and SME stay closed (ZEN and SMEN are 0), and with them what Z registers have
//! above 128 bits.
#![expect(unsafe_code, reason = "stores and loads registers")]

use core::arch::asm;
use core::mem::offset_of;

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CPACR_EL1, Writeable};
use ebbtide_core::arch::FloatState;
use static_assertions::const_assert_eq;

/// What is stored.
#[repr(C, align(16))]
pub(crate) struct Registers {
    /// FPCR.
    pub control: u64,
    /// FPSR.
    pub status: u64,
    /// q0 to q31.
    pub simd: [u128; 32],
}

// Loaded and stored by pairs, at these offsets.
const_assert_eq!(offset_of!(Registers, status), 8);
const_assert_eq!(offset_of!(Registers, simd), 16);

/// Takes the registers from user mode, and from the kernel. The return to user mode makes it known there (SCTLR_EL1.EOS).
pub(crate) fn close() {
    CPACR_EL1.write(CPACR_EL1::FPEN::TrapEl0El1);
}

/// What a thread finds that has written none.
pub(crate) const FIRST: Registers = Registers { control: 0, status: 0, simd: [0; 32] };

/// [`ebbtide_core::arch::UserMode::init_float`].
pub(crate) fn init(state: &FloatState) {
    // SAFETY: there is room for that, and nobody else goes there.
    unsafe { state.as_ptr::<Registers>().write(FIRST) };
}

/// [`ebbtide_core::arch::UserMode::store_float`].
///
/// # Safety
///
/// As there.
pub(crate) unsafe fn store(state: &FloatState) {
    // SAFETY: the registers are open.
    unsafe { read(state) };
    close();
}

/// [`ebbtide_core::arch::UserMode::load_float`].
///
/// # Safety
///
/// As there.
pub(crate) unsafe fn load(state: &FloatState) {
    CPACR_EL1.write(CPACR_EL1::FPEN::TrapNothing);
    barrier::isb(barrier::SY);
    // SAFETY: they are open.
    unsafe { write(state) };
}

/// Reads all registers into `state`.
///
/// # Safety
///
/// They are open.
pub(crate) unsafe fn read(state: &FloatState) {
    // SAFETY: there is room for them.
    unsafe {
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "mrs {1}, fpcr",
            "mrs {2}, fpsr",
            "stp {1}, {2}, [{0}]",
            "stp q0, q1, [{0}, #16]",
            "stp q2, q3, [{0}, #48]",
            "stp q4, q5, [{0}, #80]",
            "stp q6, q7, [{0}, #112]",
            "stp q8, q9, [{0}, #144]",
            "stp q10, q11, [{0}, #176]",
            "stp q12, q13, [{0}, #208]",
            "stp q14, q15, [{0}, #240]",
            "stp q16, q17, [{0}, #272]",
            "stp q18, q19, [{0}, #304]",
            "stp q20, q21, [{0}, #336]",
            "stp q22, q23, [{0}, #368]",
            "stp q24, q25, [{0}, #400]",
            "stp q26, q27, [{0}, #432]",
            "stp q28, q29, [{0}, #464]",
            "stp q30, q31, [{0}, #496]",
            in(reg) state.as_ptr::<Registers>(), out(reg) _, out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Writes all registers.
///
/// # Safety
///
/// They are open.
pub(crate) unsafe fn write(state: &FloatState) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "ldp {1}, {2}, [{0}]",
            "msr fpcr, {1}",
            "msr fpsr, {2}",
            "ldp q0, q1, [{0}, #16]",
            "ldp q2, q3, [{0}, #48]",
            "ldp q4, q5, [{0}, #80]",
            "ldp q6, q7, [{0}, #112]",
            "ldp q8, q9, [{0}, #144]",
            "ldp q10, q11, [{0}, #176]",
            "ldp q12, q13, [{0}, #208]",
            "ldp q14, q15, [{0}, #240]",
            "ldp q16, q17, [{0}, #272]",
            "ldp q18, q19, [{0}, #304]",
            "ldp q20, q21, [{0}, #336]",
            "ldp q22, q23, [{0}, #368]",
            "ldp q24, q25, [{0}, #400]",
            "ldp q26, q27, [{0}, #432]",
            "ldp q28, q29, [{0}, #464]",
            "ldp q30, q31, [{0}, #496]",
            in(reg) state.as_ptr::<Registers>(), out(reg) _, out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}
