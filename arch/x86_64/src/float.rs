//! Floating point and SIMD of threads in user mode: x87, MMX and SSE.
//!
//! Closed by CR0.TS, so that an access is #NM. AVX and what came later stay closed (CR4.OSXSAVE is 0: #UD).
#![expect(unsafe_code, reason = "stores and loads registers")]

use core::arch::asm;
use core::mem::offset_of;

use ebbtide_core::arch::FloatState;
use static_assertions::const_assert_eq;
use x86_64::registers::control::{Cr0, Cr0Flags};
use x86_64::registers::mxcsr::MxCsr;

/// What `fxsave64` stores (SDM volume 1, 10.5.1).
#[repr(C, align(16))]
pub(crate) struct Registers {
    /// FCW.
    pub control: u16,
    /// FSW.
    pub status: u16,
    /// Which registers of x87 hold something, a bit each.
    pub tags: u16,
    /// What the last x87 instruction was.
    pub opcode: u16,
    /// Where that and its operand were.
    pub last: [u64; 2],
    /// MXCSR.
    pub simd_control: u32,
    /// What that may hold; not loaded.
    pub mask: u32,
    /// st(0) to st(7), 80 bits each.
    pub x87: [u128; 8],
    /// xmm0 to xmm15.
    pub simd: [u128; 16],
    /// Reserved.
    pub reserved: [u128; 6],
}

const_assert_eq!(offset_of!(Registers, simd_control), 24);
const_assert_eq!(offset_of!(Registers, x87), 32);
const_assert_eq!(offset_of!(Registers, simd), 160);
const_assert_eq!(size_of::<Registers>(), 512);

/// FCW as `fninit` leaves it: no exception, 64 bits of precision.
const CONTROL: u16 = 0x37f;

/// MXCSR after a reset: no exception.
const SIMD_CONTROL: MxCsr = MxCsr::INVALID_OPERATION_MASK
    .union(MxCsr::DENORMAL_MASK)
    .union(MxCsr::DIVIDE_BY_ZERO_MASK)
    .union(MxCsr::OVERFLOW_MASK)
    .union(MxCsr::UNDERFLOW_MASK)
    .union(MxCsr::PRECISION_MASK);

/// What a thread finds that has written none.
pub(crate) const FIRST: Registers = Registers {
    control: CONTROL,
    status: 0,
    tags: 0,
    opcode: 0,
    last: [0; 2],
    simd_control: SIMD_CONTROL.bits(),
    mask: 0,
    x87: [0; 8],
    simd: [0; 16],
    reserved: [0; 6],
};

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
    // SAFETY: the kernel has no such registers.
    unsafe { Cr0::update(|cr0| cr0.insert(Cr0Flags::TASK_SWITCHED)) };
}

/// [`ebbtide_core::arch::UserMode::load_float`].
///
/// # Safety
///
/// As there.
pub(crate) unsafe fn load(state: &FloatState) {
    // SAFETY: opens the registers, for a thread that goes to user mode.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
    // SAFETY: they are open, and the state was stored by `store`, or is that of `init`.
    unsafe { write(state) };
}

/// Reads all registers into `state`.
///
/// # Safety
///
/// They are open.
pub(crate) unsafe fn read(state: &FloatState) {
    // SAFETY: there is room for them.
    unsafe { asm!("fxsave64 [{}]", in(reg) state.as_ptr::<Registers>(), options(nostack, preserves_flags)) };
}

/// Writes all registers.
///
/// `fninit` forgets where the last x87 instruction was: a CPU of AMD's does not load that unless an exception is pending (AMD64 manual
/// volume 5, FXRSTOR), and it would be another thread's.
///
/// # Safety
///
/// They are open, and MXCSR in `state` has no bit that there is not.
pub(crate) unsafe fn write(state: &FloatState) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("fninit", "fxrstor64 [{}]", in(reg) state.as_ptr::<Registers>(), options(nostack, preserves_flags));
    };
}
