//! Time: std's `time`.

use core::ops::{Add, Sub};

pub use core::time::Duration;

use ebbtide_core::arch::Cpu as _;
use ebbtide_core::{Platform as _, System as _};

use crate::machine::{Arch, Platform};
use crate::system::Ebbtide;

/// A point in time since boot, to the nanosecond. The clock never goes back. Sums saturate, where std's panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub fn now() -> Self {
        Self(Platform::now())
    }

    /// How long ago this was.
    pub fn elapsed(&self) -> Duration {
        Self::now() - *self
    }

    /// How long after `earlier` this was; nothing if it was before.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

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
