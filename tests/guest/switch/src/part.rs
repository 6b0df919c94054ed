//! One part of the measurement: what happened between its two ends.

use alloc::format;
use alloc::string::String;

use ebbtide::stack::{self, Counters};
use ebbtide_figures::Mean;

/// What happened while something was counted.
pub struct Part {
    /// Instructions.
    pub insns: u64,
    /// The CPUs' counters before.
    pub before: Counters,
    /// The CPUs' counters after.
    pub after: Counters,
}

impl Part {
    /// Runs `count`, which returns the instructions that it took and must have made at least `least` switches.
    pub fn of(least: u64, count: impl FnOnce() -> u64) -> Self {
        let part = Self::with_idling(least, count);
        part.must_have(least);
        assert_eq!(part.before.idle_passes, part.after.idle_passes, "a CPU was idle while switches were counted");
        part
    }

    /// The same where CPUs may go idle meanwhile. A thread that is woken from another CPU just before it sleeps does not: of the switches
    /// a few may be missing.
    pub fn with_idling(least: u64, count: impl FnOnce() -> u64) -> Self {
        let before = stack::counters();
        let insns = count();
        let part = Self { insns, before, after: stack::counters() };
        part.must_have(least - least / 64);
        part
    }

    /// The end of a time slice is one more.
    fn must_have(&self, least: u64) {
        assert!(self.switches() >= least, "{} switches, but there must be {least}", self.switches());
    }

    /// Switches, as the kernel counted them.
    pub fn switches(&self) -> u64 {
        self.after.cache.switches - self.before.cache.switches
    }

    /// Instructions per switch.
    pub fn insns_per_switch(&self) -> Mean {
        Mean::new(self.insns, self.switches())
    }

    /// The record's keys for page-table writes and invalidations per switch, each with `prefix`.
    pub fn writes_per_switch(&self, prefix: &str) -> String {
        let mean = |count: fn(&Counters) -> u64| Mean::new(count(&self.after) - count(&self.before), self.switches());
        format!(
            "{prefix}pte_writes_per_switch={} {prefix}tlb_local_per_switch={} {prefix}tlb_broadcast_per_switch={}",
            mean(|counters| counters.cache.pte_writes),
            mean(|counters| counters.tlb_local),
            mean(|counters| counters.cache.tlb_broadcast),
        )
    }
}
