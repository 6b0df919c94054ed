//! Time: the clock is the TSC, the timer the local APIC's.
//!
//! # Finding the TSC's frequency without waiting
//!
//! Where CPUID gives it, there is nothing to find. Else [`note_start`], among the kernel's first instructions, starts
//! the 8254's one-shot and notes the TSC; [`init`] makes a first estimate from what has passed of both, which is the
//! work of booting. Its error is bounded by the two readings and one tick of the 8254 each: 0.35 % after 500 µs. Only
//! a window of less than 100 µs is waited for, since it would say next to nothing; a boot that took
//! longer than the one-shot (55 ms) starts it again and waits as long.
//!
//! From then on [`refine`], which each timer interrupt calls, reads the one-shot again and takes an estimate over when
//! it halves the error, until a window of 40 ms was seen. So that one interrupt comes in time, [`arm_timer`] arms no
//! later than 45 ms into the window until then: **a caller gets one or two timer interrupts in the first 100 ms that
//! it did not ask for**, also after `arm_timer(None)`. If they come too late (a host that is busy), the one-shot starts
//! again, eight times at most.
//!
//! # Several CPUs
//!
//! There is one line for all of them, so their TSCs must agree: firmware and hypervisors set them so, and a CPU whose
//! TSC lies behind what the boot CPU's was when that started it is left out. The boot CPU alone looks at the one-shot and
//! measures the timer; the others use what it has found.

mod clock;
mod estimate;
mod given;
mod pit;
mod timer;
mod try_lock;
mod tsc;

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};

use clock::{Clock, Line, PLAUSIBLE_HZ};
use estimate::{GOOD_PPM, Reading, Window};
use given::Given;
use try_lock::TryLock;
use tsc::tsc;

use crate::irq;

/// Shortest window, in ticks of the 8254, that the first estimate is made from: 100 µs.
const FIRST_TICKS: u64 = 120;
/// Looks that are spent on that at most. One takes a microsecond at least, where ports are real.
const FIRST_LOOKS: u32 = 10_000;
/// The window that is long enough: 40 ms.
const LONG_TICKS: u64 = pit::HZ * 40 / 1_000;
/// How far into a window its interrupt is asked for: 5 ms after it is long enough, 10 ms before the one-shot ends.
const REFINE_AFTER_NANOS: u64 = 45_000_000;
/// Windows that are tried before the best estimate so far is kept.
const WINDOWS: u32 = 8;
/// The error, in parts per million, that is assumed for a frequency that was not measured.
const NOMINAL_PPM: u64 = 10_000;

/// "No more refining": later than any time.
const NEVER: u64 = u64::MAX;

static CLOCK: Clock = Clock::new();

/// When [`refine`] wants a timer interrupt, in nanoseconds since boot; [`NEVER`] once the frequency is known.
static REFINE_AT: AtomicU64 = AtomicU64::new(NEVER);

/// The boot CPU's TSC when it last started another CPU.
static TSC_AT_START: AtomicU64 = AtomicU64::new(0);

static CALIBRATION: TryLock<Calibration> = TryLock::new(Calibration {
    boot_tsc: 0,
    start: Reading { before: 0, after: 0, count: 0 },
    error_ppm: u64::MAX,
    windows_left: WINDOWS,
});

/// What the search for the TSC's frequency remembers.
struct Calibration {
    /// The TSC at [`note_start`]: time 0.
    boot_tsc: u64,
    /// The start of the one-shot.
    start: Reading,
    /// The error of the estimate in use.
    error_ppm: u64,
    windows_left: u32,
}

/// Notes the TSC, which is time 0, and starts the one-shot that its frequency is measured by. Called once, among the
/// kernel's first instructions: the later it comes, the shorter the window of the first estimate. Needs no memory
/// beside the image's own, no paging of ours and no SSE.
pub fn note_start() {
    CALIBRATION.try_with(|calibration| {
        calibration.start = pit::start();
        calibration.boot_tsc = calibration.start.before;
    });
}

/// Starts clock and timer of the boot CPU. `irq::init` has run; interrupts are off.
///
/// # Errors
///
/// The machine has nothing that tells the TSC's frequency, or its timer does not run.
pub fn init() -> Result<(), &'static str> {
    let given = given::frequencies();
    timer::start(&given);
    CALIBRATION.try_with(|calibration| calibration.first(&given)).ok_or("the clock is being started twice")??;
    timer::init()?;
    arm_timer(None);
    Ok(())
}

/// Starts the timer of another CPU. `irq::init_cpu` has run; interrupts are off.
///
/// # Errors
///
/// The CPU's time stamp counter lies behind the boot CPU's, so time would go back.
pub fn init_cpu() -> Result<(), &'static str> {
    if tsc() < TSC_AT_START.load(Ordering::Acquire) {
        return Err("its time stamp counter lies behind the boot CPU's");
    }
    timer::enable();
    arm_timer(None);
    Ok(())
}

/// Notes the TSC of the boot CPU, which is about to start another one.
pub(crate) fn note_cpu_start() {
    TSC_AT_START.store(tsc(), Ordering::Release);
}

/// Nanoseconds since [`note_start`]; 0 before [`init`]. Never goes back, on any CPU, at any time (`clock.rs` says why).
#[inline]
pub fn now() -> u64 {
    // The TSC first, then the line: see `clock.rs`.
    let tsc = tsc();
    CLOCK.line().nanos(tsc)
}

/// Makes the timer interrupt come at `deadline` (nanoseconds since boot), or as soon as possible when that has passed;
/// `None` disarms it. Needs interrupts off. The interrupt may come early (the timer's count has 32 bits, and its
/// frequency is known better and better), after which the caller arms again, and for [`refine`] (see the module's
/// head).
pub fn arm_timer(deadline: Option<u64>) {
    let mut deadline = deadline.unwrap_or(NEVER);
    let refine_at = REFINE_AT.load(Ordering::Relaxed);
    if refine_at < deadline && irq::is_boot_cpu() {
        deadline = refine_at;
    }
    let tsc = tsc();
    let line = CLOCK.line();
    let nanos = (deadline != NEVER).then(|| deadline.saturating_sub(line.nanos(tsc)));
    timer::arm(&line, tsc, nanos);
}

/// Makes the estimates of the two frequencies, the TSC's and the timer's, better if they are not good yet. Called at
/// each timer interrupt, interrupts off.
#[inline]
pub fn refine() {
    timer::refine();
    if REFINE_AT.load(Ordering::Relaxed) != NEVER && irq::is_boot_cpu() {
        CALIBRATION.try_with(Calibration::refine);
    }
}

/// The TSC's frequency as far as it is known, in Hz, and the bound on its error in parts per million: 0 if it was given.
/// `None` while an estimate is being made.
pub fn tsc_frequency() -> Option<(u64, u64)> {
    CALIBRATION.try_with(|calibration| (CLOCK.line().hz(), calibration.error_ppm))
}

impl Calibration {
    /// Starts the clock by what is given, or by what has passed since the start.
    fn first(&mut self, given: &Given) -> Result<(), &'static str> {
        if let Some(hz) = given.tsc_hz {
            self.error_ppm = 0;
            CLOCK.set(Line::new(self.boot_tsc, 0, hz));
            return Ok(());
        }
        let measured = self.first_window().filter(|window| PLAUSIBLE_HZ.contains(&window.tsc_hz(pit::HZ)));
        let (hz, error_ppm) = match (measured, given.nominal_hz) {
            (Some(window), _) => (window.tsc_hz(pit::HZ), window.error_ppm),
            (None, Some(hz)) => (hz, NOMINAL_PPM),
            (None, None) => return Err("nothing tells the frequency of the TSC: no CPUID leaf and no 8254 timer"),
        };
        self.error_ppm = error_ppm;
        CLOCK.set(Line::new(self.boot_tsc, 0, hz));
        if measured.is_some() {
            self.ask_for_interrupt();
        }
        Ok(())
    }

    /// The first window that is long enough to mean something.
    fn first_window(&mut self) -> Option<Window> {
        for _ in 0..FIRST_LOOKS {
            match pit::read() {
                pit::State::Running(reading) => {
                    let window = Window::between(self.start, reading);
                    if let Some(window) = window.filter(|window| window.ticks >= FIRST_TICKS) {
                        return Some(window);
                    }
                }
                pit::State::Expired => self.start = pit::start(),
                pit::State::Absent => return None,
            }
            spin_loop();
        }
        None
    }

    /// Looks at the one-shot, takes the estimate over if it is much better, and ends the search if it is good.
    fn refine(&mut self) {
        match pit::read() {
            pit::State::Running(reading) => {
                let Some(window) = Window::between(self.start, reading) else { return };
                self.adopt(&window);
                if window.ticks >= LONG_TICKS {
                    self.next_window();
                } else {
                    // Early, by a line that runs fast: not before the rest of the window has gone by.
                    let missing = (LONG_TICKS - window.ticks) * 1_000_000_000 / pit::HZ;
                    REFINE_AT.store(now() + missing, Ordering::Relaxed);
                }
            }
            pit::State::Expired => self.next_window(),
            pit::State::Absent => REFINE_AT.store(NEVER, Ordering::Relaxed),
        }
    }

    fn adopt(&mut self, window: &Window) {
        let hz = window.tsc_hz(pit::HZ);
        if window.error_ppm <= self.error_ppm / 2 && PLAUSIBLE_HZ.contains(&hz) {
            self.error_ppm = window.error_ppm;
            // In this order: the line must not begin after the TSC was read.
            let tsc = tsc();
            CLOCK.set(CLOCK.line().rebased(tsc, hz));
        }
    }

    /// Ends the search, or starts the one-shot again.
    fn next_window(&mut self) {
        self.windows_left = self.windows_left.saturating_sub(1);
        if self.error_ppm <= GOOD_PPM || self.windows_left == 0 {
            REFINE_AT.store(NEVER, Ordering::Relaxed);
        } else {
            self.start = pit::start();
            self.ask_for_interrupt();
        }
    }

    /// Asks for a timer interrupt late in the running window.
    fn ask_for_interrupt(&self) {
        let start = CLOCK.line().nanos(self.start.before);
        REFINE_AT.store(start + REFINE_AFTER_NANOS, Ordering::Relaxed);
    }
}
