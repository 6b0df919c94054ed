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
    /// Runs `count`, which returns the instructions that it took and must have made at least `least` switches, without a CPU that goes
    /// idle.
    pub fn of(least: u64, count: impl FnOnce() -> u64) -> Self {
        Self::made(least, count).never_idle()
    }

    /// The same across CPUs. A thread that is woken from another one just before it sleeps does not: of the switches a few may be missing.
    pub fn across(least: u64, count: impl FnOnce() -> u64) -> Self {
        Self::with_idling(least, count).never_idle()
    }

    /// The same where CPUs may go idle meanwhile.
    pub fn with_idling(least: u64, count: impl FnOnce() -> u64) -> Self {
        Self::made(least - least / 64, count)
    }

    /// Runs `count`; so many switches it must have made.
    fn made(least: u64, count: impl FnOnce() -> u64) -> Self {
        let before = stack::counters();
        let insns = count();
        let part = Self { insns, before, after: stack::counters() };
        part.must_have(least);
        part
    }

    /// Sees that no CPU was idle.
    fn never_idle(self) -> Self {
        assert_eq!(self.before.idle_passes, self.after.idle_passes, "a CPU was idle while switches were counted");
        self
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
