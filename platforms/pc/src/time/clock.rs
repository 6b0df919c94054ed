//! The clock: nanoseconds as a straight line over the TSC, which is exchanged whole when the estimate of the TSC's
//! frequency gets better, and never goes back.
//!
//! # Why it never goes back
//!
//! A line rises with the TSC, so only an exchange could step back. The new line begins at the TSC value `T` at which it
//! is made and lies nowhere below the old one from `T` on, as long as the old one may still be read:
//!
//! ```text
//!  ns                     faster                     slower: set forward by what old gains on new in `margin`
//!   |                     /  _ old                            _ _/ old
//!   |                  /_ -                            _ _ -/- new
//!   |           _ _-+                           +- - -/-
//!   |      old           new = old(T) + 1       |  /
//!   +---------------T--------------- TSC        T        T + margin --- TSC
//! ```
//!
//! `margin` covers the time from reading `T` to publishing the line, in which other CPUs read the old one: 10 ms, for
//! a hypervisor may take the CPU away between. At 0.5 % that sets the clock forward by 50 µs. The `+ 1` makes up for
//! what rounding cuts off.
//!
//! # Why reading needs no lock
//!
//! There are two places for a line, and a sequence number whose lowest bit names the one in use. A writer (one at a
//! time) fills the other, then raises the number. A reader looks at the number before and after; if it moved, the place
//! may have been filled again meanwhile, and the reader repeats. So a reader never waits for a writer, also one that
//! interrupts it (NMI, machine check): while a writer stands still, so does the number. The TSC is read *before* the
//! line, so no line is applied to a TSC value from after its exchange, however long the reader was held up.
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Nanoseconds in a second.
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The part of a second that a new line is set forward for, when it rises more slowly.
const MARGINS_PER_SECOND: u64 = 100;

/// Fraction bits of the two slopes.
const SHIFT: u32 = 32;

/// Lowest and highest frequency, in Hz, that is taken for a TSC's.
pub const PLAUSIBLE_HZ: core::ops::RangeInclusive<u64> = 10_000_000..=100_000_000_000;

/// Nanoseconds over the TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    base_tsc: u64,
    base_nanos: u64,
    /// Slope, with 32 fraction bits: cut off, an error of less than 0.03 s in a year at 3 GHz.
    nanos_per_tick: u64,
    /// Its reciprocal, with 32 fraction bits, for the timer.
    ticks_per_nano: u64,
}

impl Line {
    /// Time stands still at 0: the clock before its first estimate.
    const STOPPED: Self = Self { base_tsc: 0, base_nanos: 0, nanos_per_tick: 0, ticks_per_nano: 0 };

    /// Creates the line of a TSC of `hz`, which must be in [`PLAUSIBLE_HZ`], that shows `base_nanos` at `base_tsc`.
    pub fn new(base_tsc: u64, base_nanos: u64, hz: u64) -> Self {
        Self {
            base_tsc,
            base_nanos,
            nanos_per_tick: (NANOS_PER_SECOND << SHIFT) / hz,
            ticks_per_nano: ((u128::from(hz) << SHIFT) / u128::from(NANOS_PER_SECOND)) as u64,
        }
    }

    /// Converts a TSC value. One from before the line's beginning counts as its beginning: a reader may hold one that
    /// is older than the line.
    pub fn nanos(&self, tsc: u64) -> u64 {
        self.base_nanos + scale(tsc.saturating_sub(self.base_tsc), self.nanos_per_tick)
    }

    /// Converts a time span to TSC ticks: at least as many as it takes. Ends at `u64::MAX`.
    pub fn ticks(&self, nanos: u64) -> u64 {
        let ticks = (u128::from(nanos) * u128::from(self.ticks_per_nano)) >> SHIFT;
        u64::try_from(ticks).map_or(u64::MAX, |ticks| ticks.saturating_add(1))
    }

    /// The TSC's frequency in Hz, less than 2 Hz below the one that the line was made from.
    pub fn hz(&self) -> u64 {
        scale(self.ticks_per_nano, NANOS_PER_SECOND)
    }

    /// Returns the line that takes this one's place at `tsc`, now that the TSC's frequency is known to be `hz`.
    pub fn rebased(&self, tsc: u64, hz: u64) -> Self {
        let base_tsc = tsc.max(self.base_tsc);
        let mut next = Self::new(base_tsc, 0, hz);
        next.base_nanos = if next.nanos_per_tick >= self.nanos_per_tick {
            self.nanos(base_tsc) + 1
        } else {
            let margin = hz / MARGINS_PER_SECOND;
            self.nanos(base_tsc + margin) + 1 - scale(margin, next.nanos_per_tick)
        };
        next
    }
}

/// Multiplies ticks by a slope; 584 years fit.
fn scale(ticks: u64, slope: u64) -> u64 {
    ((u128::from(ticks) * u128::from(slope)) >> SHIFT) as u64
}

/// The line in use, for any number of readers at any time and one writer at a time.
#[derive(Debug)]
pub struct Clock {
    sequence: AtomicU64,
    lines: [AtomicLine; 2],
}

#[derive(Debug)]
struct AtomicLine {
    base_tsc: AtomicU64,
    base_nanos: AtomicU64,
    nanos_per_tick: AtomicU64,
    ticks_per_nano: AtomicU64,
}

impl Clock {
    /// Creates a clock that stands still at 0.
    pub const fn new() -> Self {
        Self { sequence: AtomicU64::new(0), lines: [AtomicLine::new(Line::STOPPED), AtomicLine::new(Line::STOPPED)] }
    }

    /// Returns the line in use. For the time at a TSC value, that value is read before (see the module's head).
    #[inline]
    pub fn line(&self) -> Line {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let line = self.lines[(before & 1) as usize].load();
            // A value of the line that a later writer stored brings that writer's view of the number along.
            fence(Ordering::Acquire);
            if self.sequence.load(Ordering::Relaxed) == before {
                return line;
            }
            // Exchanges are milliseconds apart, so the next attempt succeeds.
            core::hint::spin_loop();
        }
    }

    /// Exchanges the line. The caller sees to it that nobody else does at the same time.
    pub fn set(&self, line: Line) {
        let next = self.sequence.load(Ordering::Relaxed).wrapping_add(1);
        // Whoever sees a store below sees the number of the exchange before, too.
        fence(Ordering::Release);
        self.lines[(next & 1) as usize].store(line);
        self.sequence.store(next, Ordering::Release);
    }
}

impl AtomicLine {
    const fn new(line: Line) -> Self {
        Self {
            base_tsc: AtomicU64::new(line.base_tsc),
            base_nanos: AtomicU64::new(line.base_nanos),
            nanos_per_tick: AtomicU64::new(line.nanos_per_tick),
            ticks_per_nano: AtomicU64::new(line.ticks_per_nano),
        }
    }

    fn load(&self) -> Line {
        Line {
            base_tsc: self.base_tsc.load(Ordering::Relaxed),
            base_nanos: self.base_nanos.load(Ordering::Relaxed),
            nanos_per_tick: self.nanos_per_tick.load(Ordering::Relaxed),
            ticks_per_nano: self.ticks_per_nano.load(Ordering::Relaxed),
        }
    }

    fn store(&self, line: Line) {
        self.base_tsc.store(line.base_tsc, Ordering::Relaxed);
        self.base_nanos.store(line.base_nanos, Ordering::Relaxed);
        self.nanos_per_tick.store(line.nanos_per_tick, Ordering::Relaxed);
        self.ticks_per_nano.store(line.ticks_per_nano, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    const GHZ: u64 = 1_000_000_000;
    const CENTURY_NANOS: u64 = 100 * 365 * 24 * 3600 * GHZ;

    #[test]
    fn stands_still_before_the_first_estimate() {
        assert_eq!(Clock::new().line().nanos(u64::MAX), 0);
    }

    #[test]
    fn counts_instructions_under_icount() {
        let line = Line::new(5, 0, GHZ);
        assert_eq!(line.nanos(5), 0);
        assert_eq!(line.nanos(1_000_005), 1_000_000);
        assert_eq!(line.nanos(0), 0);
        assert_eq!(line.ticks(1_000), 1_001);
    }

    #[test]
    fn runs_for_centuries() {
        for hz in [24_000_000, GHZ, 3 * GHZ, 6 * GHZ] {
            let line = Line::new(0, 0, hz);
            let Some(tsc) = hz.checked_mul(100 * 365 * 24 * 3600) else { continue };
            let error = CENTURY_NANOS.abs_diff(line.nanos(tsc));
            assert!(error < 10 * GHZ, "{hz} Hz: off by {error} ns");
        }
        assert_eq!(Line::new(0, 0, 3 * GHZ).ticks(u64::MAX), u64::MAX);
    }

    /// Readers on several threads, on the TSC of the host, while the frequency is exchanged back and forth.
    #[test]
    fn never_goes_back_for_any_thread() {
        static CLOCK: Clock = Clock::new();
        static LATEST: AtomicU64 = AtomicU64::new(0);
        static DONE: AtomicBool = AtomicBool::new(false);
        // One TSC for all: the host's may differ between CPUs.
        static TSC: AtomicU64 = AtomicU64::new(0);
        const HZ: u64 = 100_000_000;

        CLOCK.set(Line::new(0, 0, HZ));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !DONE.load(Ordering::Relaxed) {
                        let latest = LATEST.load(Ordering::SeqCst);
                        let tsc = TSC.fetch_add(1, Ordering::SeqCst);
                        let nanos = CLOCK.line().nanos(tsc);
                        assert!(nanos >= latest, "{nanos} after {latest}");
                        LATEST.fetch_max(nanos, Ordering::SeqCst);
                    }
                });
            }
            for round in 0..20_000_u64 {
                let hz = if round % 2 == 0 { HZ - HZ / 200 } else { HZ + HZ / 200 };
                CLOCK.set(CLOCK.line().rebased(TSC.fetch_add(1, Ordering::SeqCst), hz));
            }
            DONE.store(true, Ordering::Relaxed);
        });
    }

    /// Exchanges so close together that both places change under a reader's eyes.
    #[test]
    fn no_line_is_read_in_parts() {
        static CLOCK: Clock = Clock::new();
        static DONE: AtomicBool = AtomicBool::new(false);

        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !DONE.load(Ordering::Relaxed) {
                        let line = CLOCK.line();
                        let value = line.base_tsc;
                        assert_eq!([line.base_nanos, line.nanos_per_tick, line.ticks_per_nano], [value; 3]);
                    }
                });
            }
            for value in 0..200_000 {
                CLOCK.set(Line { base_tsc: value, base_nanos: value, nanos_per_tick: value, ticks_per_nano: value });
            }
            DONE.store(true, Ordering::Relaxed);
        });
    }

    proptest! {
        #[test]
        fn rises_with_the_tsc(
            hz in PLAUSIBLE_HZ,
            base_tsc in 0..u64::MAX / 2,
            a in 0..u64::MAX / 2,
            step in 0..1_u64 << 40,
        ) {
            let line = Line::new(base_tsc, 0, hz);
            prop_assert!(line.nanos(a) <= line.nanos(a + step));
        }

        /// Whenever within the margin the new line is published: readings before on the old one, after on the new.
        #[test]
        fn an_exchange_never_goes_back(
            hz in 10_000_000..10 * GHZ,
            change in 900_000..1_100_000_u64,
            start in 0..1_u64 << 60,
            run in 0..1_u64 << 40,
            published in 0..1_000_000_u64,
            later in 0..1_u64 << 40,
        ) {
            let new_hz = (u128::from(hz) * u128::from(change) / 1_000_000) as u64;
            prop_assume!(new_hz >= 10_000_000);
            let old = Line::new(start, 7, hz);
            let at = start + run;
            let new = old.rebased(at, new_hz);
            let published = at + (u128::from(new_hz / MARGINS_PER_SECOND) * u128::from(published) / 1_000_000) as u64;
            prop_assert!(old.nanos(published) <= new.nanos(published), "{} {}", old.nanos(published), new.nanos(published));
            prop_assert!(new.nanos(published) <= new.nanos(published + later));
            // Held up since before the exchange, with the new line.
            prop_assert!(old.nanos(at) <= new.nanos(at - run / 2));
            // Set forward by no more than the change of rate makes in the margin.
            let forward = new.nanos(at) - old.nanos(at);
            prop_assert!(forward <= 2 + 10_000_000 * change.abs_diff(1_000_000) / 900_000, "{forward}");
        }

        /// Hardly any change of rate, and readings close by: what rounding cuts off is the danger.
        #[test]
        fn an_exchange_makes_up_for_rounding(
            hz in 10_000_000..10 * GHZ,
            change in 0..20_u64,
            run in 0..1_000_000_u64,
            published in 0..100_u64,
        ) {
            let old = Line::new(0, 0, hz);
            let new = old.rebased(run, (hz + change).saturating_sub(10).max(10_000_000));
            for tsc in run + published..run + published + 100 {
                prop_assert!(old.nanos(tsc) <= new.nanos(tsc), "{} {}", old.nanos(tsc), new.nanos(tsc));
            }
        }

        /// The timer asks for enough ticks, and for few too many.
        #[test]
        fn ticks_reach_the_deadline(hz in 10_000_000..10 * GHZ, nanos in 0..3_600 * GHZ) {
            let line = Line::new(0, 0, hz);
            let reached = line.nanos(line.ticks(nanos));
            let rounding = 2 + nanos / GHZ * 300 + GHZ / hz;
            prop_assert!(reached + rounding >= nanos, "{reached} for {nanos}");
            prop_assert!(reached <= nanos + rounding);
        }
    }
}
