//! Frequencies from pairs of counter readings, each with a bound on its error.
//!
//! A reading stands between two readings of the TSC. How far these lie apart is how far the moment is uncertain: an
//! interrupt of the host between them shows, and makes an estimate count for less instead of making it wrong.

/// The error that ends the measuring, in parts per million.
pub const GOOD_PPM: u64 = 500;

/// Fraction bits of a ratio.
const RATIO_SHIFT: u32 = 32;

/// One reading of a counter that counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The TSC before.
    pub before: u64,
    /// The TSC after.
    pub after: u64,
    /// What the counter showed.
    pub count: u64,
}

impl Reading {
    /// The TSC at the reading, as near as can be told.
    fn tsc(&self) -> u64 {
        self.before + self.width() / 2
    }

    fn width(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }
}

/// What passed between two readings of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    tsc_ticks: u64,
    /// Ticks of the counter.
    pub ticks: u64,
    /// How far the ratio of the two may be off, in parts per million.
    pub error_ppm: u64,
}

impl Window {
    /// Creates the window between two readings; `None` if nothing passed.
    pub fn between(first: Reading, last: Reading) -> Option<Self> {
        let ticks = last.count.checked_sub(first.count).filter(|&ticks| ticks > 0)?;
        let tsc_ticks = last.tsc().checked_sub(first.tsc()).filter(|&ticks| ticks > 0)?;
        // Each reading may be off by half its width, each count by one tick.
        let moments = parts_per_million((first.width() + last.width()).div_ceil(2), tsc_ticks);
        let counts = parts_per_million(2, ticks);
        Some(Self { tsc_ticks, ticks, error_ppm: moments.saturating_add(counts) })
    }

    /// The TSC's frequency, if the counter's is `hz`.
    pub fn tsc_hz(&self, hz: u64) -> u64 {
        let hz = u128::from(self.tsc_ticks) * u128::from(hz) / u128::from(self.ticks);
        u64::try_from(hz).unwrap_or(u64::MAX)
    }

    /// The counter's ticks per tick of the TSC.
    pub fn ratio(&self) -> Ratio {
        Ratio::of(self.ticks, self.tsc_ticks)
    }
}

fn parts_per_million(part: u64, whole: u64) -> u64 {
    let parts = (u128::from(part) * 1_000_000).div_ceil(u128::from(whole));
    u64::try_from(parts).unwrap_or(u64::MAX)
}

/// A ratio of two frequencies, with 32 fraction bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(pub u64);

impl Ratio {
    /// Creates the ratio `a / b`. `b` is not 0.
    pub fn of(a: u64, b: u64) -> Self {
        let ratio = (u128::from(a) << RATIO_SHIFT) / u128::from(b);
        Self(u64::try_from(ratio).unwrap_or(u64::MAX))
    }

    /// Returns the ratio made smaller by `ppm` parts per million.
    pub fn less(self, ppm: u64) -> Self {
        let off = u128::from(self.0) * u128::from(ppm) / 1_000_000;
        Self(self.0.saturating_sub(u64::try_from(off).unwrap_or(u64::MAX)))
    }

    /// Scales `ticks` for a count of 32 bits that is not 0: one too long fires early.
    pub fn count(self, ticks: u64) -> u32 {
        let count = ((u128::from(ticks) * u128::from(self.0)) >> RATIO_SHIFT) + 1;
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIT_HZ: u64 = 1_193_182;

    #[test]
    fn nothing_passed_is_no_window() {
        let reading = Reading { before: 10, after: 12, count: 5 };
        assert_eq!(Window::between(reading, reading), None);
        let back = Reading { before: 20, after: 22, count: 4 };
        assert_eq!(Window::between(reading, back), None);
        let same_count = Reading { before: 20, after: 22, count: 5 };
        assert_eq!(Window::between(reading, same_count), None);
    }

    #[test]
    fn a_disturbed_reading_counts_for_less() {
        let first = Reading { before: 0, after: 100, count: 0 };
        let clean = Reading { before: 40_000_000, after: 40_000_100, count: 47_727 };
        let disturbed = Reading { after: 41_000_000, ..clean };
        let clean = Window::between(first, clean).unwrap();
        let disturbed = Window::between(first, disturbed).unwrap();
        assert!(clean.error_ppm < GOOD_PPM, "{}", clean.error_ppm);
        assert!(disturbed.error_ppm > 10_000, "{}", disturbed.error_ppm);
        assert!(clean.tsc_hz(PIT_HZ).abs_diff(1_000_000_000) < 100_000);
    }

    #[test]
    fn counts_fit_the_timer() {
        let ratio = Ratio::of(1_000_000_000, 3_000_000_000);
        assert_eq!(ratio.count(0), 1);
        assert_eq!(ratio.count(3_000_000), 1_000_000);
        assert_eq!(ratio.count(u64::MAX), u32::MAX);
        assert_eq!(Ratio(u64::MAX).count(u64::MAX), u32::MAX);
        assert_eq!(Ratio(1_000_000).less(500), Ratio(999_500));
        assert_eq!(Ratio(1_000_000).less(u64::MAX), Ratio(0));
    }

    proptest! {
        /// The true frequency lies within the error that the estimate states.
        #[test]
        fn the_error_is_a_bound(
            hz in 100_000_000..6_000_000_000_u64,
            start_micros in 0..1_000_000_u64,
            window_micros in 100..54_000_u64,
            widths in (0..20_000_u64, 0..20_000_u64),
            places in (0..=100_u64, 0..=100_u64),
        ) {
            let reading = |micros: u64, width: u64, place: u64| {
                let moment = 1_000_000 + (u128::from(micros) * u128::from(hz) / 1_000_000) as u64;
                let count = (u128::from(micros) * u128::from(PIT_HZ) / 1_000_000) as u64;
                let before = moment - width * place / 100;
                Reading { before, after: before + width, count }
            };
            let first = reading(start_micros, widths.0, places.0);
            let last = reading(start_micros + window_micros, widths.1, places.1);
            let Some(window) = Window::between(first, last) else { return Ok(()) };
            prop_assume!(window.error_ppm < 100_000);
            let off = parts_per_million(window.tsc_hz(PIT_HZ).abs_diff(hz), hz);
            // The bound is to first order, relative to what was measured: its square is missing, and rounding.
            let bound = window.error_ppm + window.error_ppm * window.error_ppm / 1_000_000 + 2;
            prop_assert!(off <= bound, "off by {off} ppm, stated {}", window.error_ppm);
        }
    }
}
