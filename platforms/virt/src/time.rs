//! Time: the clock is the generic timer's virtual counter, the timer its virtual timer.
//!
//! CNTFRQ_EL0 says how often the counter counts, so there is nothing to measure. Nanoseconds are ticks times a factor with
//! 32 bits behind the point, in 128 bits: no product overflows, and no division is on the way.

use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Bits of a factor behind the point.
const FRACTION_BITS: u32 = 32;

/// Frequencies that make sense, in Hz: below, a tick would be longer than a slice; above, the factor would lose its bits.
const PLAUSIBLE_HZ: core::ops::RangeInclusive<u64> = 1_000..=100_000_000_000;

/// The counter at [`note_start`].
static START: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds to a tick, and ticks to a nanosecond; 0 before [`init`].
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);
static TICKS_PER_NANO: AtomicU64 = AtomicU64::new(0);

/// Notes the counter, which is time 0.
pub fn note_start() {
    START.store(counter(), Ordering::Relaxed);
}

/// Starts the clock of the CPU that boots; its timer is disarmed.
///
/// # Errors
///
/// The firmware did not say how often the counter counts.
pub fn init() -> Result<(), &'static str> {
    let hz = CNTFRQ_EL0.get();
    if !PLAUSIBLE_HZ.contains(&hz) {
        return Err("the firmware did not set the generic timer's frequency (CNTFRQ_EL0)");
    }
    NANOS_PER_TICK.store(factor(NANOS_PER_SECOND, hz), Ordering::Relaxed);
    TICKS_PER_NANO.store(factor(hz, NANOS_PER_SECOND), Ordering::Relaxed);
    disarm();
    Ok(())
}

/// Nanoseconds since [`note_start`]; 0 before [`init`]. Never goes back, on any CPU: all have the same counter.
#[inline]
pub fn now() -> u64 {
    scale(counter() - START.load(Ordering::Relaxed), NANOS_PER_TICK.load(Ordering::Relaxed))
}

/// Makes the timer interrupt come at `deadline` (nanoseconds since boot), or as soon as possible when that has passed;
/// `None` disarms it. Needs interrupts off. The interrupt may come a tick early, after which the caller arms again.
pub fn arm_timer(deadline: Option<u64>) {
    let Some(deadline) = deadline else {
        return disarm();
    };
    // One more than the whole ticks: with none lost to rounding, it would be early each time.
    let ticks = scale(deadline, TICKS_PER_NANO.load(Ordering::Relaxed)).saturating_add(1);
    CNTV_CVAL_EL0.set(START.load(Ordering::Relaxed).saturating_add(ticks));
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// Disarms the timer. When it returns, the interrupt is withdrawn (Arm ARM, D11.2.4: after a context synchronisation).
pub fn disarm() {
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
    barrier::isb(barrier::SY);
}

/// The virtual counter, not read earlier than the instructions before (Arm ARM, D11.2.2).
fn counter() -> u64 {
    barrier::isb(barrier::SY);
    CNTVCT_EL0.get()
}

const fn factor(numerator: u64, denominator: u64) -> u64 {
    (((numerator as u128) << FRACTION_BITS) / denominator as u128) as u64
}

const fn scale(value: u64, factor: u64) -> u64 {
    ((value as u128 * factor as u128) >> FRACTION_BITS) as u64
}
