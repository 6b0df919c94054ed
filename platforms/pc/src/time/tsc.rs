//! The time stamp counter.
#![expect(unsafe_code, reason = "the intrinsic is unsafe")]

/// Reads the time stamp counter of this CPU.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: every x86_64 CPU has RDTSC; it is only forbidden in user mode, and then only if CR4.TSD says so.
    unsafe { core::arch::x86_64::_rdtsc() }
}
