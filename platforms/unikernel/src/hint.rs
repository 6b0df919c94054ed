//! std's `hint`: what a loop tells the CPU that runs it.

use ebbtide_core::System;
use ebbtide_core::arch::Cpu as _;

use crate::system::Ebbtide;

/// Tells the CPU that the caller waits in a loop for what another CPU does: std's `spin_loop`, in the kernel and in user mode.
///
/// It differs on aarch64, where std's is an ISB and this is a YIELD (Arm ARM, C6.2): QEMU lets the next CPU run at a YIELD, and
/// runs a loop of ISBs to the end of its turn, which lasts minutes where CPUs take turns (`-icount`).
#[inline(always)]
pub fn spin_loop() {
    <Ebbtide as System>::Arch::relax();
}
