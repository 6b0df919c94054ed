//! The PL031: seconds since 1970, to judge the drift of our own clock by.
//!
//! One register is all that is read (Arm DDI 0224, 3.3.1), so there is no driver: `arm_pl031` brings `chrono` with it.
#![expect(unsafe_code, reason = "the clock is reached by its mapped register")]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Where its data register, the first, is mapped; 0 without such a clock.
static DATA: AtomicU64 = AtomicU64::new(0);

/// Takes the clock at this virtual address into use.
pub(crate) fn found(address: u64) {
    DATA.store(address, Ordering::Relaxed);
}

/// Reads the clock: seconds since 1970-01-01 00:00:00, leap seconds not counted. `None` where there is no such clock.
pub fn seconds() -> Option<u64> {
    let address = DATA.load(Ordering::Relaxed);
    if address == 0 {
        return None;
    }
    // SAFETY: the register is mapped there, and reading it changes nothing.
    let seconds = unsafe { ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() };
    Some(seconds.into())
}
