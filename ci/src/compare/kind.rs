//! What a workload measures, and so which keys its guest prints.

use serde::Deserialize;

use super::series::Known;

/// What a workload measures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Memory of a published machine's threads, all asleep.
    IdleMachines,
    /// Instructions to `main`, and the image's size.
    Boot,
    /// What a switch takes: yielding, waking, preempting.
    Switch,
    /// What a thread's life takes.
    SpawnJoin,
    /// What one more sleeping thread takes.
    Sleepers,
    /// What system calls take, and the kernel stacks of threads in user mode.
    SystemCalls,
    /// How deep threads go on their kernel stacks.
    Depth,
    /// Memory of a server with a thread for each connection: by their number, and over time.
    Server,
    /// What handing items on from thread to thread takes, across CPUs.
    Chain,
    /// Memory of threads that all sleep deep, and of those that have to wait for it.
    DeepSleepers,
    /// What the lives of threads take that spawn others and wait for them.
    ForkJoin,
}

impl Kind {
    /// The word for it in workload files and record lines.
    pub fn word(self) -> &'static str {
        match self {
            Self::IdleMachines => "idle-machines",
            Self::Boot => "boot",
            Self::Switch => "switch",
            Self::SpawnJoin => "spawn-join",
            Self::Sleepers => "sleepers",
            Self::SystemCalls => "system-calls",
            Self::Depth => "depth",
            Self::Server => "server",
            Self::Chain => "chain",
            Self::DeepSleepers => "deep-sleepers",
            Self::ForkJoin => "fork-join",
        }
    }

    /// The keys that a guest prints, on any number of CPUs.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::IdleMachines => &[
                "threads",
                "stack_kib",
                "cache_kib",
                "table_kib",
                "system_kib",
                "oracle_kib",
                "stack_faults",
                "pages_reclaimed",
            ],
            Self::Boot => &["boot_insns"],
            Self::Switch => &[
                "yield_insns",
                "yield_crowded_insns",
                "wake_insns",
                "preempt_insns",
                "pte_writes_per_switch",
                "tlb_local_per_switch",
                "tlb_broadcast_per_switch",
                "crowded_pte_writes_per_switch",
                "crowded_tlb_local_per_switch",
                "crowded_tlb_broadcast_per_switch",
                "wake_pte_writes_per_switch",
                "wake_tlb_local_per_switch",
                "wake_tlb_broadcast_per_switch",
                "cache_hits",
                "cache_misses",
                "refills",
                "refills_failed",
                "frames_pumped",
                "parked",
                "pages_reclaimed",
            ],
            Self::SpawnJoin => &["spawn_join_insns"],
            Self::Sleepers => &["thread_bytes"],
            Self::SystemCalls => &[
                "threads",
                "syscall_insns",
                "syscall_sleep_insns",
                "user_preempt_insns",
                "pte_writes_per_call",
                "tlb_local_per_call",
                "tlb_broadcast_per_call",
                "sleep_pte_writes_per_call",
                "sleep_tlb_broadcast_per_call",
                "asleep_stack_kib",
                "mixed_stack_kib",
                "spinning_stack_kib",
            ],
            Self::Depth => &[
                "depth_threads",
                "depth_up_to_1_kib",
                "depth_up_to_2_kib",
                "depth_up_to_4_kib",
                "depth_up_to_8_kib",
                "depth_up_to_16_kib",
                "depth_up_to_32_kib",
                "depth_up_to_64_kib",
                "depth_above_64_kib",
                "depth_deepest_bytes",
            ],
            Self::Server => {
                &["server_threads", "server_requests", "server_asleep_kib", "server_most_kib", "server_after_kib"]
            }
            Self::Chain => &[
                "chain_threads",
                "chain_items",
                "chain_item_insns",
                "chain_switches_per_item",
                "chain_pte_writes_per_item",
                "chain_tlb_local_per_item",
                "chain_tlb_broadcast_per_item",
            ],
            Self::DeepSleepers => &[
                "deep_threads",
                "deep_sleeps",
                "deep_quiet_kib",
                "deep_most_kib",
                "deep_most_oracle_kib",
                "deep_after_kib",
                "deep_parked",
                "deep_span_ms",
            ],
            Self::ForkJoin => &[
                "fork_threads",
                "fork_thread_insns",
                "fork_pte_writes_per_thread",
                "fork_tlb_broadcast_per_thread",
                "fork_after_kib",
            ],
        }
    }

    /// What a guest measures at several points, before its record: the names of the series, and the keys of their points.
    pub fn series(self) -> &'static [Known] {
        match self {
            Self::Server => &[
                ("threads", &["threads", "stack_kib", "cache_kib", "table_kib", "oracle_kib"]),
                ("bursts", &["at_ms", "requests", "served", "stack_kib", "cache_kib", "table_kib", "oracle_kib"]),
            ],
            Self::DeepSleepers => &[("deep", &["at_ms", "deep", "stack_kib", "cache_kib", "table_kib", "oracle_kib"])],
            _ => &[],
        }
    }

    /// The keys that a guest with several CPUs prints beside those.
    pub fn keys_of_several_cpus(self) -> &'static [&'static str] {
        match self {
            Self::Switch => &[
                "across_pte_writes_per_switch",
                "across_tlb_local_per_switch",
                "across_tlb_broadcast_per_switch",
                "across_busy_pte_writes_per_switch",
                "across_busy_tlb_local_per_switch",
                "across_busy_tlb_broadcast_per_switch",
                "move_pte_writes_per_switch",
                "move_tlb_local_per_switch",
                "move_tlb_broadcast_per_switch",
                "cache_most_frames",
            ],
            _ => &[],
        }
    }

    /// The keys that a guest prints only under policies that have such a thing.
    pub fn keys_of_some_policies(self) -> &'static [&'static str] {
        match self {
            Self::SpawnJoin => &["ensure_insns"],
            Self::Switch => &["fault_insns", "fault_gap_insns"],
            _ => &[],
        }
    }

    /// The keys that only a guest with the feature `audit` measures, and the only ones that are taken from it: it is not
    /// the image that users get.
    pub fn audit_keys(self) -> &'static [&'static str] {
        match self {
            Self::Switch => &["irq_off_max_insns"],
            _ => &[],
        }
    }

    /// Whether all of it is measured in a guest with the feature `audit`, and nothing in any other.
    pub fn is_audits(self) -> bool {
        self == Self::Depth
    }
}
