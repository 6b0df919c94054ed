//! Where what the device tree said is kept.
#![expect(unsafe_code, reason = "one static is written once, before it is shared")]

use core::cell::UnsafeCell;

use crate::cpus::Affinity;
use crate::devices::Devices;

/// What was found at boot.
pub static DEVICES: Kept = Kept(UnsafeCell::new(None));

/// [`Devices`] that are written once, by the CPU that boots, before there is another CPU or an interrupt.
pub struct Kept(UnsafeCell<Option<Devices>>);

// SAFETY: written once, before anything reads it or can interrupt the write.
unsafe impl Sync for Kept {}

impl Kept {
    /// Keeps what was found. Called once, first.
    pub(crate) fn keep(&self, devices: Devices) {
        // SAFETY: nobody has a reference: `get` copies.
        unsafe { self.0.get().write(Some(devices)) };
    }

    /// Returns what was found: nothing before [`keep`](Self::keep).
    pub(crate) fn get(&self) -> Devices {
        // SAFETY: it is not written to any more.
        unsafe { self.0.get().read() }.unwrap_or_else(|| Devices::new(Affinity::default()))
    }
}
