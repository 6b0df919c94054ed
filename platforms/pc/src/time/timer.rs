//! The local APIC's timer as a one-shot: by TSC value where the CPU has that, else by a count of its own ticks.
//!
//! # The timer's ticks
//!
//! They are measured against the TSC, so no second ruler is needed: what is kept is a *lower bound* of the timer's ticks
//! per tick of the TSC. With it the timer fires early rather than late, and who armed it arms it again for the little
//! that is left. Each look at the counter raises the bound: while the timer runs, by what both counters show; at its
//! interrupt, because the whole count has passed in no more than the time since it was started. The second kind of look
//! leaves out but the interrupt's latency, so that one long wait makes the bound almost exact. The looks end after
//! [`WINDOWS`] of them.
#![expect(unsafe_code, reason = "the TSC deadline is an MSR")]

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use super::clock::Line;
use super::estimate::{Ratio, Reading, Window};
use super::given::Given;
use super::try_lock::TryLock;
use super::tsc;
use crate::irq::{self, Register, TIMER_VECTOR};

const IA32_TSC_DEADLINE: u32 = 0x6e0;
const LVT_TSC_DEADLINE: u32 = 0b10 << 17;

/// The error, in parts per million, that the first estimate must not exceed, and the looks at the counter that are
/// spent on that at most. One look of a few microseconds, on a hypervisor, needs about 100 µs in all; most of it has
/// passed with the first estimate of the TSC's frequency.
const FIRST_PPM: u64 = 20_000;
const FIRST_LOOKS: u32 = 1_000;

/// How often the timer is started before the bound is kept for good.
const WINDOWS: u32 = 64;

/// Whether the timer takes a TSC value. Set once, by [`start`].
static TSC_DEADLINE: AtomicBool = AtomicBool::new(false);
/// The timer's ticks per tick of the TSC, a [`Ratio`]: given, or a lower bound that only rises.
static RATIO: AtomicU64 = AtomicU64::new(0);
/// Whether the ratio is still being measured.
static MEASURING: AtomicBool = AtomicBool::new(false);

static MEASUREMENT: TryLock<Measurement> =
    TryLock::new(Measurement { started: None, initial: 0, windows_left: WINDOWS });

/// The timer of the boot CPU, as it was last started.
struct Measurement {
    /// When, at count 0: readings count up, the timer counts down.
    started: Option<Reading>,
    /// The initial count.
    initial: u32,
    windows_left: u32,
}

/// Sets the timer up on the boot CPU and starts the measuring, if there is anything to measure. `irq::init` has run.
pub(super) fn start(given: &Given) {
    TSC_DEADLINE.store(given.tsc_deadline, Ordering::Relaxed);
    let measuring = !given.tsc_deadline && given.apic_ratio.is_none();
    MEASURING.store(measuring, Ordering::Relaxed);
    if let Some(ratio) = given.apic_ratio {
        RATIO.store(ratio.0, Ordering::Relaxed);
    }
    if measuring {
        // Still masked: it runs for nothing but the measuring.
        MEASUREMENT.try_with(|measurement| measurement.count_down(u32::MAX));
    }
}

/// Takes the first estimate of the ratio and lets the timer interrupt.
///
/// # Errors
///
/// The timer does not run.
pub(super) fn init() -> Result<(), &'static str> {
    for _ in 0..FIRST_LOOKS {
        if !MEASURING.load(Ordering::Relaxed) {
            break;
        }
        let error_ppm = MEASUREMENT.try_with(Measurement::look).flatten();
        if error_ppm.is_some_and(|error_ppm| error_ppm <= FIRST_PPM) {
            break;
        }
        spin_loop();
    }
    if !TSC_DEADLINE.load(Ordering::Relaxed) && RATIO.load(Ordering::Relaxed) == 0 {
        return Err("the local APIC's timer does not run");
    }
    enable();
    Ok(())
}

/// Lets the timer of this CPU interrupt. What is known of the boot CPU's timer holds for all: one clock drives them.
pub(super) fn enable() {
    if TSC_DEADLINE.load(Ordering::Relaxed) {
        Register::LVT_TIMER.write(LVT_TSC_DEADLINE | u32::from(TIMER_VECTOR));
        // SAFETY: orders the write of the table, which is to memory in xAPIC mode, before that of the deadline, which
        // is to an MSR (Intel SDM volume 3, 11.5.4.1). A fence of Rust's promises nothing about MSRs.
        unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
    } else {
        Register::LVT_TIMER.write(TIMER_VECTOR.into());
    }
}

/// Makes the timer interrupt come in `nanos`, or never. Interrupts are off.
pub(super) fn arm(line: &Line, now_tsc: u64, nanos: Option<u64>) {
    if TSC_DEADLINE.load(Ordering::Relaxed) {
        // 0 disarms; a value that has passed fires at once.
        let deadline = nanos.map_or(0, |nanos| now_tsc.saturating_add(line.ticks(nanos)));
        // SAFETY: CPUID has the TSC deadline, and the table entry is in its mode; the vector has a handler.
        unsafe { Msr::new(IA32_TSC_DEADLINE).write(deadline) };
        return;
    }
    let count = nanos.map_or(0, |nanos| Ratio(RATIO.load(Ordering::Relaxed)).count(line.ticks(nanos)));
    let measured = is_measured_here()
        && MEASUREMENT
            .try_with(|measurement| {
                measurement.look();
                measurement.count_down(count);
            })
            .is_some();
    if !measured {
        Register::INITIAL_COUNT.write(count);
    }
}

/// Looks at the timer, whose interrupt has just come.
#[inline]
pub(super) fn refine() {
    if is_measured_here() {
        MEASUREMENT.try_with(Measurement::look);
    }
}

/// Says whether the ratio is still being measured, and on this CPU.
#[inline]
fn is_measured_here() -> bool {
    MEASURING.load(Ordering::Relaxed) && irq::is_boot_cpu()
}

impl Measurement {
    /// Starts the timer. A count of 0 stops it.
    fn count_down(&mut self, count: u32) {
        let before = tsc();
        Register::INITIAL_COUNT.write(count);
        self.started = Some(Reading { before, after: tsc(), count: 0 });
        self.initial = count;
        self.windows_left = self.windows_left.saturating_sub(1);
        if self.windows_left == 0 {
            MEASURING.store(false, Ordering::Relaxed);
        }
    }

    /// Looks how far the timer came, and raises the bound. Returns the error of what was seen, in parts per million;
    /// none is known once the timer has stopped.
    fn look(&mut self) -> Option<u64> {
        let started = self.started?;
        let before = tsc();
        let current = Register::CURRENT_COUNT.read();
        let after = tsc();
        let count = u64::from(self.initial.checked_sub(current)?);
        let window = Window::between(started, Reading { before, after, count })?;
        let (bound, error_ppm) = if current == 0 {
            // It stopped at some time before `after`. What it counted is all that is known.
            self.started = None;
            (Ratio::of(count, after - started.before), None)
        } else {
            (window.ratio().less(window.error_ppm), Some(window.error_ppm))
        };
        RATIO.fetch_max(bound.0, Ordering::Relaxed);
        error_ppm
    }
}
