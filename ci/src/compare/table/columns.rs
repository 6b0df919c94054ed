//! Columns: a head, and what stands below it in a row.

use super::row::Row;

/// A column: its head, and what it shows of a row.
pub type Column = (&'static str, fn(&Row<'_>) -> Option<String>);

/// Stands behind the names where rows are of several architectures.
pub const ARCH: Column = ("arch", |row| Some(row.setting().arch.clone()));

/// The published machines, all threads asleep.
pub const MEMORY: &[Column] = &[
    ("published\nmachine", |row| row.setting().machine.clone()),
    ("policy", |row| Some(row.setting().policy.clone())),
    ("stack\nKiB", |row| whole(row, "stack_kib")),
    ("cache\nKiB", |row| whole(row, "cache_kib")),
    ("table\nKiB", |row| whole(row, "table_kib")),
    ("system\nKiB", |row| whole(row, "system_kib")),
    ("saving\n%", |row| decimals(row, "saving_percent", 2)),
    ("RFC's\n%", |row| decimals(row, "published_saving_percent", 2)),
    ("total\n%", |row| decimals(row, "saving_total_percent", 2)),
    ("×\noracle", |row| decimals(row, "oracle_ratio", 3)),
    ("pages\nreclaimed", |row| whole(row, "pages_reclaimed")),
    ("stack\nfaults", |row| whole(row, "stack_faults")),
];

/// What work takes.
pub const WORK: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("yield", |row| decimals(row, "yield_insns", 2)),
    ("yield,\ncrowded", |row| decimals(row, "yield_crowded_insns", 2)),
    ("wake-up", |row| decimals(row, "wake_insns", 2)),
    ("preemp-\ntion", |row| decimals(row, "preempt_insns", 2)),
    ("spawn\n+ join", |row| decimals(row, "spawn_join_insns", 2)),
    ("stack\nfault", |row| decimals(row, "fault_insns", 2)),
    ("fault for\n3 pages", |row| decimals(row, "fault_gap_insns", 2)),
    ("ensure,\n2 pages", |row| decimals(row, "ensure_insns", 2)),
    ("interrupts\noff, most*", |row| decimals_or_whole(row, "irq_off_max_insns")),
    ("boot to\nmain", |row| decimals_or_whole(row, "boot_insns")),
    ("image\nbytes", |row| whole(row, "image_bytes")),
    ("bytes per\nsleeper", |row| whole(row, "thread_bytes")),
];

/// What a switch does to page tables and TLB.
pub const PAGING: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("yield:\nwrites", |row| decimals(row, "pte_writes_per_switch", 2)),
    ("TLB\nlocal", |row| decimals(row, "tlb_local_per_switch", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "tlb_broadcast_per_switch", 2)),
    ("crowded:\nwrites", |row| decimals(row, "crowded_pte_writes_per_switch", 2)),
    ("TLB\nlocal", |row| decimals(row, "crowded_tlb_local_per_switch", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "crowded_tlb_broadcast_per_switch", 2)),
    ("wake-up:\nwrites", |row| decimals(row, "wake_pte_writes_per_switch", 2)),
    ("TLB\nlocal", |row| decimals(row, "wake_tlb_local_per_switch", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "wake_tlb_broadcast_per_switch", 2)),
];

/// The same where threads sleep on one CPU and are woken from another, or go on on another.
pub const ACROSS: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("CPUs idle:\nwrites", |row| decimals(row, "across_pte_writes_per_switch", 2)),
    ("TLB\nlocal", |row| decimals(row, "across_tlb_local_per_switch", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "across_tlb_broadcast_per_switch", 2)),
    ("CPUs busy:\nwrites", |row| decimals(row, "across_busy_pte_writes_per_switch", 2)),
    ("TLB\nlocal", |row| decimals(row, "across_busy_tlb_local_per_switch", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "across_busy_tlb_broadcast_per_switch", 2)),
    ("move:\nwrites", |row| decimals(row, "move_pte_writes_per_switch", 2)),
    ("TLB\nlocal", |row| decimals(row, "move_tlb_local_per_switch", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "move_tlb_broadcast_per_switch", 2)),
];

/// What a switch does to the stack cache.
pub const CACHE: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("hits", |row| whole(row, "cache_hits")),
    ("misses", |row| whole(row, "cache_misses")),
    ("refills", |row| whole(row, "refills")),
    ("refills that\nfailed", |row| whole(row, "refills_failed")),
    ("frames\npumped", |row| whole(row, "frames_pumped")),
    ("threads\nparked", |row| whole(row, "parked")),
    ("most in\na cache", |row| whole(row, "cache_most_frames")),
];

/// What system calls take, and what they do to page tables and TLB.
pub const CALLS: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("null\ncall", |row| decimals(row, "syscall_insns", 2)),
    ("writes", |row| decimals(row, "pte_writes_per_call", 2)),
    ("TLB\nlocal", |row| decimals(row, "tlb_local_per_call", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "tlb_broadcast_per_call", 2)),
    ("call that\nsleeps", |row| decimals(row, "syscall_sleep_insns", 2)),
    ("writes", |row| decimals(row, "sleep_pte_writes_per_call", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "sleep_tlb_broadcast_per_call", 2)),
    ("preemption in\nuser mode", |row| decimals(row, "user_preempt_insns", 2)),
];

/// Kernel stacks of threads in user mode.
pub const USER_STACKS: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("threads", |row| row.figure("asleep_stack_kib").and(whole(row, "threads"))),
    ("asleep in a\ncall, KiB", |row| whole(row, "asleep_stack_kib")),
    ("half of them\neach, KiB", |row| whole(row, "mixed_stack_kib")),
    ("spinning in\nuser mode, KiB", |row| whole(row, "spinning_stack_kib")),
];

/// How many threads went how deep on their kernel stacks.
pub const DEPTH: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("threads", |row| whole(row, "depth_threads")),
    ("up to\n1 KiB", |row| whole(row, "depth_up_to_1_kib")),
    ("2 KiB", |row| whole(row, "depth_up_to_2_kib")),
    ("4 KiB", |row| whole(row, "depth_up_to_4_kib")),
    ("8 KiB", |row| whole(row, "depth_up_to_8_kib")),
    ("16 KiB", |row| whole(row, "depth_up_to_16_kib")),
    ("32 KiB", |row| whole(row, "depth_up_to_32_kib")),
    ("64 KiB", |row| whole(row, "depth_up_to_64_kib")),
    ("above", |row| whole(row, "depth_above_64_kib")),
    ("deepest,\nbytes", |row| whole(row, "depth_deepest_bytes")),
];

/// Memory of a server's stacks, all that belongs to them.
pub const SERVER: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("connections", |row| whole(row, "server_threads")),
    ("all quiet,\nKiB", |row| whole(row, "server_asleep_kib")),
    ("requests", |row| whole(row, "server_requests")),
    ("most in a\nburst, KiB", |row| whole(row, "server_most_kib")),
    ("long after,\nKiB", |row| whole(row, "server_after_kib")),
];

/// Items that go from thread to thread.
pub const CHAIN: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("threads", |row| whole(row, "chain_threads")),
    ("items", |row| whole(row, "chain_items")),
    ("an\nitem", |row| decimals(row, "chain_item_insns", 2)),
    ("switches", |row| decimals(row, "chain_switches_per_item", 2)),
    ("writes", |row| decimals(row, "chain_pte_writes_per_item", 2)),
    ("TLB\nlocal", |row| decimals(row, "chain_tlb_local_per_item", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "chain_tlb_broadcast_per_item", 2)),
];

/// Memory of threads that all sleep deep.
pub const DEEP: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("threads", |row| whole(row, "deep_threads")),
    ("all quiet,\nKiB", |row| whole(row, "deep_quiet_kib")),
    ("sleeps", |row| whole(row, "deep_sleeps")),
    ("most,\nKiB", |row| whole(row, "deep_most_kib")),
    ("most live,\nKiB", |row| whole(row, "deep_most_oracle_kib")),
    ("quiet again,\nKiB", |row| whole(row, "deep_after_kib")),
    ("threads\nparked", |row| whole(row, "deep_parked")),
    ("all slept\nafter, ms", |row| whole(row, "deep_span_ms")),
];

/// Threads that spawn others and wait for them.
pub const FORK_JOIN: &[Column] = &[
    ("policy", |row| Some(row.setting().policy.clone())),
    ("threads", |row| whole(row, "fork_threads")),
    ("a\nthread", |row| decimals(row, "fork_thread_insns", 2)),
    ("writes", |row| decimals(row, "fork_pte_writes_per_thread", 2)),
    ("TLB\nbroadcast", |row| decimals(row, "fork_tlb_broadcast_per_thread", 2)),
    ("kept in\nthe end, KiB", |row| whole(row, "fork_after_kib")),
];

/// A figure without decimals.
fn whole(row: &Row<'_>, key: &str) -> Option<String> {
    decimals(row, key, 0)
}

/// A figure with a number of decimals.
fn decimals(row: &Row<'_>, key: &str, digits: usize) -> Option<String> {
    row.figure(key).map(|value| cut(value, digits))
}

/// A figure with two decimals if it has any.
fn decimals_or_whole(row: &Row<'_>, key: &str) -> Option<String> {
    row.figure(key).map(two_or_none)
}

/// A number with two decimals if it has any.
pub fn two_or_none(value: f64) -> String {
    cut(value, if value.fract() == 0.0 { 0 } else { 2 })
}

/// A number with so many decimals, cut and not rounded: 74.999 is not 75.00.
fn cut(value: f64, digits: usize) -> String {
    let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
    // The small amount keeps a value that has just these decimals from losing the last one.
    format!("{:.digits$}", (value * scale + 1e-6).floor() / scale)
}
