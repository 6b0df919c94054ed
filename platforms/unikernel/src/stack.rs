//! What the stack policy does with memory: statistics.

use ebbtide_core::arch::Cpu as _;
use ebbtide_core::cpu;
use ebbtide_core::stack::{self, CacheCounters};
use ebbtide_core::{StackPolicy as _, System as _};

pub use ebbtide_core::memory::FrameCounts;
pub use ebbtide_core::stack::Sample;

use crate::system::Ebbtide;

/// The name of the policy that this image was built with.
pub const POLICY: &str = crate::policy::Policy::NAME;

/// Counts where the stacks' memory is, by walking the page tables. Sample when all threads sleep and the CPU has since
/// been idle.
pub fn sample() -> Sample {
    stack::sample::<Ebbtide>()
}

/// Where all frames are: free, in page tables, in the heap. What is left belongs to stacks and their caches.
pub fn frames() -> Frames {
    let kernel = Ebbtide::kernel();
    Frames {
        counts: kernel.frames.with::<Ebbtide, _>(|frames| frames.counts()),
        tables: kernel.accounts.tables.get(),
        heap: kernel.accounts.heap.get(),
    }
}

/// Frames by use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// All frames, and the free ones.
    pub counts: FrameCounts,
    /// Page tables.
    pub tables: usize,
    /// The heap.
    pub heap: usize,
}

/// What happened since boot, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What happened to the stack caches.
    pub cache: CacheCounters,
    /// Faults on stack pages.
    pub stack_faults: u64,
    /// How often a CPU went idle.
    pub idle_passes: u64,
    /// Interrupts that nobody asked for.
    pub unexpected_interrupts: u64,
}

/// The counters of this CPU.
pub fn counters() -> Counters {
    use core::sync::atomic::Ordering::Relaxed;

    cpu::without_preemption::<Ebbtide, _>(|| {
        let cpu = crate::machine::Arch::per_cpu();
        Counters {
            cache: cpu.cache_counters(),
            stack_faults: cpu.stack_faults.load(Relaxed),
            idle_passes: cpu.idle_passes.load(Relaxed),
            unexpected_interrupts: cpu.unexpected_interrupts.load(Relaxed),
        }
    })
}
