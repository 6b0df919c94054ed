//! Faults on purpose (`ebbtide.fault`): what else happens once in a long time, or where memory is short, happens as often as one
//! likes. Policies come through each of them with every invariant; that is what an audit then looks at.
//!
//! | fault | what happens | what it stands for |
//! |---|---|---|
//! | `alloc:N`, `alloc-every:N` | the frame allocator says that no frame is free, at its N-th call or at every N-th one | another CPU has just taken the last one, and gives it back at once |
//! | `cache-cap:N` | no stack cache holds more than N frames | fewer than one thread may lack: it can be populated by the stack daemon alone, bit by bit |
//! | `drain:N` | at every N-th switch a CPU loses its whole cache to the allocator | other CPUs are short all the time |
//! | `ipi-delay:N` | another CPU's interrupt is answered up to N turns late, drawn by lot | an emulator's host, which stops a CPU |
//! | `deep-sleep` | a thread goes down to what it must leave for being preempted, and sleeps there | deep sleepers, which leave nothing |
//!
//! They begin where the app's `main` does. A frame for the heap or for a page table is never refused: what an app allocates
//! cannot fail but by ending the run (104), and that is no policy's.
//!
//! Where a refused frame is one that is there, no release comes later that would wake who waits for one. It is as if another CPU had
//! taken the last frame and given it back; so what that CPU would do is done here ([`refused`]).

use core::fmt::{self, Write};
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::fault_words::Wanted;
use super::interrupts;
use crate::arch::Cpu;
use crate::console::Report;
use crate::cpu::{self, PerCpu};
use crate::memory::FrameAllocator;
use crate::memory::frames::Refusal;
use crate::settings::WrongWord;
use crate::stack;
use crate::stop::stop_if_the_run_ends;
use crate::system::System;
use crate::thread::{placement, stack_wait};

/// The faults of a run, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Faults {
    wanted: Wanted,
    /// `main` has begun.
    have_begun: AtomicBool,
    capped: AtomicU64,
    drained: AtomicU64,
    delayed: AtomicU64,
    deep: AtomicU64,
}

impl Faults {
    /// Those that a command line asks for, which was [checked](check).
    pub fn new(command_line: &str) -> Self {
        Self { wanted: Wanted::read(command_line).unwrap_or_default(), ..Self::default() }
    }
}

/// Checks what a command line says of faults.
///
/// # Errors
///
/// The first word that says what cannot be.
pub(crate) fn check(command_line: &str) -> Result<(), WrongWord<'_>> {
    Wanted::read(command_line).map(drop)
}

/// The faults, once they have begun.
#[inline(always)]
fn faults<S: System>() -> Option<&'static Faults> {
    let kept = if S::AUDIT { S::kernel().audit.kept() } else { None };
    kept.map(|kept| &kept.faults).filter(|faults| faults.have_begun.load(Ordering::Relaxed))
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The app's `main` is about to begin, and with it the faults.
pub(crate) fn begin<S: System>() {
    if let Some(kept) = S::kernel().audit.kept() {
        S::kernel().frames.with::<S, _>(|frames| frames.refuse(kept.faults.wanted.refusal));
        kept.faults.have_begun.store(true, Ordering::Relaxed);
    }
}

/// Runs `f` on the frame allocator, which refuses it nothing: for what cannot do without.
#[inline(always)]
pub(crate) fn spare<S: System, R>(frames: &mut FrameAllocator, f: impl FnOnce(&mut FrameAllocator) -> R) -> R {
    if S::AUDIT { frames.without_refusals(f) } else { f(frames) }
}

/// Takes frames for this CPU's stack cache by `take`. If one was refused that was free, whoever waits for frames is told that some have
/// come, as the CPU would do that had it for a moment: so nobody waits for one that is there, nor is that called a deadlock.
#[inline(always)]
pub(crate) fn refused<S: System>(cpu: &PerCpu, take: impl FnOnce(&mut FrameAllocator)) {
    let was_refused = S::kernel().frames.with::<S, _>(|frames| {
        let before = if S::AUDIT { frames.refused() } else { 0 };
        take(frames);
        S::AUDIT && frames.refused() > before && frames.counts().free > 0
    });
    if was_refused {
        cpu::without_interrupts::<S, _>(|| placement::stir::<S>(cpu));
        stack_wait::frames_came::<S>();
    }
}

/// What a stack cache may hold, of `bound` frames that the command line allows otherwise.
#[inline(always)]
pub(crate) fn capped<S: System>(bound: usize) -> usize {
    faults::<S>().and_then(|faults| faults.wanted.cache_cap).map_or(bound, |cap| bound.min(cap))
}

/// A stack cache has no room for a frame, as `bound` are there.
#[inline(always)]
pub(crate) fn has_no_room<S: System>(bound: usize) {
    if let Some(faults) = faults::<S>()
        && bound < S::kernel().settings.cache()
    {
        count(&faults.capped, 1);
    }
}

/// A CPU has switched. Interrupts are off, in the second half of the switch.
pub(super) fn switched<S: System>(cpu: &PerCpu) {
    let Some(faults) = faults::<S>() else { return };
    let (switches, cached) = cpu.with_stack_cache(|cache| (cache.counters.switches, cache.len()));
    if faults.wanted.drain.is_some_and(|every| switches % every == 0) && cached > 0 {
        count(&faults.drained, 1);
        stack::trim::<S>(cpu, 0);
    }
}

/// Another CPU has interrupted this one, and waits for its answer. Interrupts are off.
#[inline(always)]
pub(crate) fn delay<S: System>(cpu: &PerCpu) {
    if let Some(faults) = faults::<S>()
        && let Some(most) = faults.wanted.ipi_delay
    {
        interrupts::without_this::<S>(cpu, || wait::<S>(cpu, faults, most));
    }
}

#[cold]
fn wait<S: System>(cpu: &PerCpu, faults: &Faults, most: u32) {
    let turns = cpu.delays.throw(faults.wanted.seed, cpu.number) % (most + 1);
    count(&faults.delayed, u64::from(turns > 0));
    for _ in 0..turns {
        stop_if_the_run_ends::<S>();
        S::Arch::relax();
    }
}

/// Runs `sleep`, in which the running thread sleeps: as deep on its stack as it may go, if that is asked for.
#[inline(always)]
pub(crate) fn deeply<S: System>(sleep: fn()) {
    match faults::<S>() {
        Some(faults) if faults.wanted.deep_sleep => {
            count(&faults.deep, 1);
            go_down::<S>(stack::remaining::<S>() / STEP_BYTES, sleep);
        }
        _ => sleep(),
    }
}

/// Bytes of an activation record on the way down.
const STEP_BYTES: usize = 256;

/// Bytes that are left below, beside what a preemption needs: for what goes to sleep, and finds the memory for that.
const LEFT_BYTES: usize = if cfg!(debug_assertions) { 4 << 10 } else { 1 << 10 };

/// Calls itself down to where little remains, `most` times at most, and then `sleep`.
#[inline(never)]
fn go_down<S: System>(most: usize, sleep: fn()) {
    let record = black_box([0_u8; STEP_BYTES]);
    if most > 0 && stack::remaining::<S>() > LEFT_BYTES + STEP_BYTES {
        go_down::<S>(most - 1, sleep);
    } else {
        sleep();
    }
    black_box(&record);
}

/// Says at the end of a run how many faults there were, if any were asked for.
#[inline(always)]
pub(crate) fn report<S: System>() {
    if let Some(faults) = faults::<S>()
        && faults.wanted != (Wanted { seed: faults.wanted.seed, ..Wanted::default() })
    {
        // Nobody waits here for a lock; what stopped while it held this one had refused nothing since.
        let refused = S::kernel().frames.try_with::<S, _>(|frames| frames.refused());
        let _ = writeln!(Report::<S>::new(), "ebbtide: {}", Count { faults, refused });
    }
}

/// How many faults there were, of those that were asked for.
struct Count<'a> {
    faults: &'a Faults,
    /// Frames that were refused, if that can be said.
    refused: Option<u64>,
}

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { faults, refused } = self;
        let wanted = &faults.wanted;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let kinds = [
            (wanted.refusal != Refusal::Never, "frames refused", refused.unwrap_or(0)),
            (wanted.cache_cap.is_some(), "frames above the cap given back", load(&faults.capped)),
            (wanted.drain.is_some(), "caches drained", load(&faults.drained)),
            (wanted.ipi_delay.is_some(), "interrupts answered late", load(&faults.delayed)),
            (wanted.deep_sleep, "deep sleeps", load(&faults.deep)),
        ];
        let all: u64 = kinds.iter().map(|(is_wanted, _, number)| if *is_wanted { *number } else { 0 }).sum();
        write!(f, "{all} faults injected:")?;
        let mut comma = "";
        for (_, what, number) in kinds.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
            write!(f, "{comma} {number} {what}")?;
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn the_line_tells_of_each_that_was_asked_for() {
        let faults = Faults::new("ebbtide.fault=alloc:4,drain:2,deep-sleep");
        count(&faults.drained, 3);
        count(&faults.deep, 20);
        count(&faults.delayed, 1);
        let text = Count { faults: &faults, refused: Some(1) }.to_string();
        assert_eq!(text, "24 faults injected: 1 frames refused, 3 caches drained, 20 deep sleeps");
    }
}
