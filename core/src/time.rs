//! Points in time: std's `Instant`.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::time::Duration;

use crate::platform::Platform;
use crate::system::System;

/// A point in time since boot, to the nanosecond: std's `Instant`. The clock never goes back.
///
/// The boot is the first point that there is, and the last one comes 584 years later. As in std, a sum or a difference
/// beyond them panics; [`checked_add`](Self::checked_add) and [`checked_sub`](Self::checked_sub) do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant<S>(u64, PhantomData<fn() -> S>);

impl<S> Instant<S> {
    const fn at(nanoseconds: u64) -> Self {
        Self(nanoseconds, PhantomData)
    }

    /// Nanoseconds since boot.
    #[doc(hidden)]
    pub const fn nanoseconds(&self) -> u64 {
        self.0
    }

    /// How long after `earlier` this was; nothing if it was before.
    pub const fn duration_since(&self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// How long after `earlier` this was, or nothing if it was before.
    pub const fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
            None => None,
        }
    }

    /// How long after `earlier` this was; zero if it was before.
    pub const fn saturating_duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point that comes `duration` later, if there is one.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Self::at)
    }

    /// The point that came `duration` earlier, if it is not before boot.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(u64::try_from(duration.as_nanos()).ok()?).map(Self::at)
    }
}

impl<S> Instant<S> {
    fn later(&self, duration: Duration) -> Self {
        self.checked_add(duration).expect("overflow when adding duration to instant")
    }

    fn earlier(&self, duration: Duration) -> Self {
        self.checked_sub(duration).expect("overflow when subtracting duration from instant")
    }
}

impl<S: System> Instant<S> {
    /// Now.
    pub fn now() -> Self {
        Self::at(S::Platform::now())
    }

    /// How long ago this was.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(S::Platform::now().saturating_sub(self.0))
    }
}

/// A deadline that does not come.
pub const NEVER: u64 = u64::MAX;

/// The point that comes `timeout` from now, in nanoseconds since boot. What is too far away never comes.
pub(crate) fn after<S: System>(timeout: Duration) -> u64 {
    let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(NEVER);
    S::Platform::now().saturating_add(timeout)
}

impl<S> fmt::Debug for Instant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&Duration::from_nanos(self.0)).finish()
    }
}

impl<S> Add<Duration> for Instant<S> {
    type Output = Self;

    /// # Panics
    ///
    /// There is no such point.
    fn add(self, duration: Duration) -> Self {
        self.later(duration)
    }
}

impl<S> AddAssign<Duration> for Instant<S> {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.later(duration);
    }
}

impl<S> Sub<Duration> for Instant<S> {
    type Output = Self;

    /// # Panics
    ///
    /// There is no such point.
    fn sub(self, duration: Duration) -> Self {
        self.earlier(duration)
    }
}

impl<S> SubAssign<Duration> for Instant<S> {
    fn sub_assign(&mut self, duration: Duration) {
        *self = self.earlier(duration);
    }
}

impl<S> Sub for Instant<S> {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arithmetic needs no system.
    type Point = Instant<()>;

    #[test]
    fn sums_end_where_time_does() {
        let last = Point::at(u64::MAX);
        assert_eq!(Point::at(5) + Duration::from_nanos(7), Point::at(12));
        assert_eq!(Point::at(5).checked_add(Duration::from_nanos(u64::MAX - 5)), Some(last));
        assert_eq!(Point::at(5).checked_add(Duration::from_nanos(u64::MAX - 4)), None);
        assert_eq!(Point::at(5).checked_add(Duration::MAX), None);
        let mut point = Point::at(1);
        point += Duration::from_secs(1);
        assert_eq!(point, Point::at(1_000_000_001));
        point -= Duration::from_nanos(3);
        assert_eq!(point, Point::at(999_999_998));
    }

    #[test]
    #[should_panic = "overflow when adding duration to instant"]
    fn a_sum_beyond_the_end_of_time_panics() {
        let _ = Point::at(5) + Duration::from_nanos(u64::MAX - 4);
    }

    #[test]
    #[should_panic = "overflow when subtracting duration from instant"]
    fn a_point_before_the_boot_panics() {
        let _ = Point::at(5) - Duration::from_nanos(6);
    }

    #[test]
    fn differences_end_at_the_boot() {
        let (early, late) = (Point::at(10), Point::at(35));
        assert_eq!(late - early, Duration::from_nanos(25));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(early.duration_since(late), Duration::ZERO);
        assert_eq!(early.checked_duration_since(late), None);
        assert_eq!(late.checked_duration_since(early), Some(Duration::from_nanos(25)));
        assert_eq!(early.checked_sub(Duration::from_nanos(11)), None);
        assert_eq!(early.checked_sub(Duration::from_nanos(10)), Some(Point::at(0)));
        assert_eq!(early.checked_sub(Duration::MAX), None);
    }
}
