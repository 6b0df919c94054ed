//! Time: std's `time`.

pub use core::time::Duration;

use ebbtide_core::arch::Cpu as _;
use ebbtide_core::{System as _, time};

use crate::machine::Arch;
use crate::system::Ebbtide;

/// A point in time since boot, to the nanosecond. The clock never goes back.
pub type Instant = time::Instant<Ebbtide>;

/// The CPU's cycle counter. Under QEMU's `-icount shift=0` it counts instructions.
pub fn counter() -> u64 {
    Arch::counter()
}

/// What [`counter`] showed at the loader's first instruction; at the kernel's, if the loader does not tell.
pub fn counter_at_start() -> u64 {
    Ebbtide::kernel().counter_at_start()
}

/// Seconds of the machine's battery-backed clock, to check [`Instant`] against; nothing if there is none.
#[doc(hidden)]
pub fn rtc_seconds() -> Option<u64> {
    crate::machine::rtc_seconds()
}
