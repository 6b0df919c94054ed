//! Delays where CPUs race, so that what hardly ever happens does: an interrupt that is sent late, a CPU that is slow to go
//! idle, a page that is taken back while it is being freed. Which points wait, and for how long, the seed says
//! (`ebbtide.delays`). Under an emulator that lets the CPUs take turns (`-icount`), a seed gives the same run each time.

use core::sync::atomic::{AtomicU32, Ordering};

use super::ways;
use crate::arch::Cpu;
use crate::system::System;

/// A CPU's dice.
#[derive(Debug)]
pub(crate) struct Delays(AtomicU32);

impl Delays {
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// For how many turns to wait: mostly for none, sometimes for long.
    fn turns(&self, seed: u32, cpu: u32) -> u32 {
        let dice = self.throw(seed, cpu);
        match dice % 16 {
            0 => (dice >> 8) % 2_000,
            1..=4 => (dice >> 8) % 50,
            _ => 0,
        }
    }

    /// Throws them. Marsaglia's xorshift32.
    pub fn throw(&self, seed: u32, cpu: u32) -> u32 {
        let last = self.0.load(Ordering::Relaxed);
        let mut dice = if last == 0 { seed.wrapping_add(cpu.wrapping_mul(0x9e37_79b9)) | 1 } else { last };
        dice ^= dice << 13;
        dice ^= dice >> 17;
        dice ^= dice << 5;
        self.0.store(dice, Ordering::Relaxed);
        dice
    }
}

/// What follows races with another CPU.
#[inline(always)]
pub(crate) fn race<S: System>() {
    S::interleave();
    if S::AUDIT && S::kernel().settings.acts_at_races() {
        act::<S>();
    }
}

#[cold]
#[inline(never)]
fn act<S: System>() {
    // What races is deep in a handler, if one is at it.
    ways::look_at_trap_from::<S>(ways::caller_of::<S>(ways::own_frame::<S>()));
    if S::kernel().settings.delays() != 0 {
        wait::<S>();
    }
}

fn wait<S: System>() {
    let cpu = S::Arch::per_cpu();
    for _ in 0..cpu.delays.turns(S::kernel().settings.delays(), cpu.number) {
        S::Arch::relax();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_delays_and_another_one_others() {
        let draw = |seed, cpu| {
            let delays = Delays::new();
            std::array::from_fn::<u32, 200, _>(|_| delays.turns(seed, cpu))
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(8, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        let waits = draw(7, 2).iter().filter(|turns| **turns > 0).count();
        assert!((20..100).contains(&waits), "{waits} of 200 wait");
    }
}
