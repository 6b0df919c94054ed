//! Where the redistributor of a CPU is. A GICv3 has one for each, in one region or several, and each says whose it is.
#![expect(unsafe_code, reason = "the controller is reached by its mapped registers")]

use core::mem::offset_of;
use core::ptr;

use arm_gic::gicv3::registers::{Gicr, GicrSgi, GicrTyper};
use ebbtide_core::arch::PAGE_BYTES;

use crate::cpus::Affinity;
use crate::devices::{Controller, Registers};

/// Bytes of the frames that a CPU has: redistributor, and its private interrupts.
const BYTES: u64 = size_of::<GicrSgi>() as u64;

/// Returns where the redistributor of a CPU is mapped. `map` maps registers and returns where; what it has mapped already
/// may come again.
///
/// # Errors
///
/// It has none, or `map` failed.
pub(crate) fn find(
    controller: &Controller,
    affinity: Affinity,
    map: impl Fn(Registers) -> Result<u64, &'static str>,
) -> Result<u64, &'static str> {
    for region in [Some(controller.cpu)].into_iter().chain(controller.more).flatten() {
        let mut offset = 0;
        while offset + BYTES <= region.bytes {
            let start = region.start + offset;
            let kind = kind(map(Registers { start, bytes: PAGE_BYTES })?);
            if Affinity::new(kind.core_mpidr()) == affinity {
                return map(Registers { start, bytes: BYTES });
            }
            if kind.last_redistributor() {
                break;
            }
            // With virtual LPIs there are two frames more.
            offset += if kind.virtual_lpis_supported() { 2 * BYTES } else { BYTES };
        }
    }
    Err("the interrupt controller has no redistributor for it")
}

/// Reads GICR_TYPER.
fn kind(redistributor: u64) -> GicrTyper {
    let register = redistributor as usize + offset_of!(Gicr, typer);
    // SAFETY: the page is mapped, the register has 64 bits, and reading it changes nothing.
    unsafe { ptr::with_exposed_provenance::<GicrTyper>(register).read_volatile() }
}
