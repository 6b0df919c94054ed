//! What the stack policy does with memory: statistics.
//!
//! All sizes are numbers of frames or pages, of 4 KiB each.

use core::fmt;

use ebbtide_core::{StackPolicy, System as _};
use ebbtide_core::{audit, stack};

pub use ebbtide_core::audit::Depths;
pub use ebbtide_core::memory::FrameCounts;
pub use ebbtide_core::stack::{CacheCounters, CallError, EnsureError, Sample};

use crate::policy::Policy;
use crate::system::Ebbtide;

/// The name of the policy that this image was built with.
pub const POLICY: &str = Policy::NAME;

/// Whether a thread that does not run has the pages that it needs, and no others.
#[doc(hidden)]
pub const RESTS_AT_SWITCH: bool = Policy::RESTS_AT_SWITCH;

/// Whether such a thread also keeps the pages that it has accessed.
#[doc(hidden)]
pub const READS_ACCESSED_BITS: bool = Policy::READS_ACCESSED_BITS;

/// Whether such a thread also has what the switch away from it may have reached.
#[doc(hidden)]
pub const RESTS_BEFORE_SWITCH: bool = Policy::RESTS_BEFORE_SWITCH;

/// Whether a thread in user mode has the pages that its entry into the kernel needs, and no others.
#[doc(hidden)]
pub const CHANGES_AT_ENTRY: bool = Policy::CHANGES_AT_ENTRY;

/// Whether a thread that has slept for a while has the pages that it needs, and no others.
#[doc(hidden)]
pub const SWEEPS: bool = Policy::SWEEPS;

/// How often the reclaimer has looked at the stacks of all threads; 0 under a policy that has none.
pub fn sweeps() -> u64 {
    Ebbtide::kernel().reclaimer.sweeps()
}

/// Whether a stack gets its pages where it is touched.
#[doc(hidden)]
pub const GROWS_ON_FAULT: bool = Policy::GROWS_ON_FAULT;

/// Whether a thread has part of its stack alone unless it asks for more.
#[doc(hidden)]
pub const ASKS: bool = Policy::PAGES_UNASKED != usize::MAX;

/// How many pages of a stack of so many a thread has unless it asks for more.
#[doc(hidden)]
pub fn unasked(pages: usize) -> usize {
    fn under<P: StackPolicy>(pages: usize) -> usize {
        pages.min(P::PAGES_UNASKED)
    }
    under::<Policy>(pages)
}

/// How many pages a stack of at least so many bytes has.
#[doc(hidden)]
pub fn pages_of(bytes: usize) -> usize {
    let class = stack::SizeClass::for_stack(bytes as u64, Policy::GUARD);
    class.map_or(0, |class| class.stack_pages(Policy::GUARD))
}

/// Sees to it that the caller can use `bytes` of its stack, beyond what it uses already. May sleep.
///
/// Under the policy `ensure` a thread has 12 KiB of its stack until it asks for more, and keeps what it got until it ends; a
/// thread in user mode, until it goes back there from the call. Without having asked, it is a stack overflow to go deeper. Under the
/// other policies a running thread has all of its stack, and this only says whether so much is left.
///
/// # Errors
///
/// The stack is not so large, there is no memory, or preemption or interrupts are off, so that the thread may not sleep. When it
/// fails, the thread keeps the part that it got.
pub fn ensure(bytes: usize) -> Result<(), EnsureError> {
    stack::ensure::<Ebbtide>(bytes)
}

/// Calls `f` on a temporary stack of at least `bytes` (8 KiB to 1 MiB), and returns what it returns. May sleep.
///
/// So a thread with a small stack can go deep once. `f` may do what it could do without: refer to what the caller has on its stack,
/// sleep, be preempted, move to another CPU, call this again. An overflow is reported in the thread's name. The stack comes from where a
/// new thread's comes from. It is fully populated at first, and then like any stack what the policy makes of it, while the caller's own
/// keeps all pages that it has until `f` returns, also while the thread sleeps.
///
/// # Errors
///
/// There is no stack of that size, there is no memory, or preemption or interrupts are off, so that the thread may not sleep. Then `f`
/// was not called, and is dropped.
pub fn call_with<R>(bytes: usize, f: impl FnOnce() -> R) -> Result<R, CallError> {
    stack::call_with::<Ebbtide, R>(bytes, f)
}

/// How many bytes of its stack the caller can use beyond what it uses already, without asking for more.
pub fn remaining() -> usize {
    stack::remaining::<Ebbtide>()
}

/// Counts where the stacks' memory is, by walking the page tables: what is seen is what the CPU sees.
///
/// The thread that calls counts among the system's, not among the app's. For figures that can be compared, sample when
/// all other threads sleep and the CPUs have since been idle, as after [`settle`]: they then free what rests.
pub fn sample() -> Sample {
    stack::sample::<Ebbtide>()
}

/// Waits until every other thread sleeps and the CPUs have been idle since: threads that have ended are gone then, and nothing
/// rests but what this thread leaves; a reclaimer has swept them. Waits for ever if the others never sleep.
pub fn settle() {
    stack::settle::<Ebbtide>();
}

/// Counts where all frames are: free, in page tables, in the heap, in the memory of user mode. What is left belongs to stacks and their caches.
pub fn frames() -> Frames {
    let kernel = Ebbtide::kernel();
    Frames {
        counts: kernel.frames.with::<Ebbtide, _>(|frames| frames.counts()),
        tables: kernel.accounts.tables.get(),
        heap: kernel.accounts.heap.get(),
        user: kernel.accounts.user.get(),
    }
}

/// How many frames lie in each CPU's stack cache, which holds `ebbtide.cache` of them at most. Of other CPUs than the caller's, each
/// may be a moment old.
pub fn caches() -> impl Iterator<Item = usize> {
    Ebbtide::kernel().cpus().map(|cpu| cpu.cached_frames())
}

/// For each CPU in turn, how many times others were just freeing stack pages, whose addresses all CPUs have to forget, while it came
/// up: between its start and the moment from which it is one of those that are asked. None for the one that boots.
pub fn shootdowns_while_coming_up() -> impl Iterator<Item = u64> {
    Ebbtide::kernel().cpus().map(|cpu| cpu.shootdowns_while_it_came_up())
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
    /// Memory of threads in user mode.
    pub user: usize,
}

/// What happened since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What happened to its stack cache.
    pub cache: CacheCounters,
    /// Addresses of stack pages that were invalidated on this CPU alone: each after a fault that a stale translation made.
    pub tlb_local: u64,
    /// Faults on stack pages that populated nothing.
    pub stack_faults: u64,
    /// Faults on pages of which it had to be noted that they were accessed, where the CPU leaves that to the kernel.
    pub access_faults: u64,
    /// Faults on stack pages that populated some, as is meant to be under a policy that does so.
    pub growth_faults: u64,
    /// Pages of stacks that these faults, and preemptions, have populated.
    pub pages_grown: u64,
    /// How often it went idle, and had taken care of its own affairs.
    pub idle_passes: u64,
    /// How often it then waited for an interrupt.
    pub halts: u64,
    /// Interrupts that nobody asked for.
    pub unexpected_interrupts: u64,
    /// How often it had addresses of stack pages invalidated on every CPU, however many at a time.
    pub shootdowns: u64,
}

/// The counters of all CPUs together. While other CPUs are busy, they are not all of the same moment.
pub fn counters() -> Counters {
    use core::sync::atomic::Ordering::Relaxed;

    Ebbtide::kernel().cpus().fold(Counters::default(), |sum, cpu| Counters {
        cache: sum.cache + cpu.cache_counters(),
        tlb_local: sum.tlb_local + cpu.spurious_faults.load(Relaxed),
        stack_faults: sum.stack_faults + cpu.stack_faults.load(Relaxed),
        access_faults: sum.access_faults + cpu.access_faults.load(Relaxed),
        growth_faults: sum.growth_faults + cpu.growth_faults(),
        pages_grown: sum.pages_grown + cpu.grown_pages(),
        idle_passes: sum.idle_passes + cpu.idle_passes.load(Relaxed),
        halts: sum.halts + cpu.halts.load(Relaxed),
        unexpected_interrupts: sum.unexpected_interrupts + cpu.unexpected_interrupts.load(Relaxed),
        shootdowns: sum.shootdowns + cpu.shootdowns(),
    })
}

/// The longest stretch without interrupts since this was last asked, in ticks of [`counter`](crate::time::counter); nothing
/// in an image without the feature `audit`.
pub fn irq_off_max() -> Option<u64> {
    audit::longest_without_interrupts::<Ebbtide>()
}

/// What is known of the stacks: to be looked at, or printed.
///
/// In an image with the feature `audit` the word `ebbtide.report=depth` of the kernel's command line prints it when the app ends the run.
pub fn report() -> Report {
    Report { counters: counters(), depths: audit::depths::<Ebbtide>() }
}

/// What is known of the stacks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened to them.
    pub counters: Counters,
    /// How deep threads have gone, as far as they were seen; nothing in an image without the feature `audit`, where nobody looks.
    pub depths: Option<Depths>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { cache, growth_faults, .. } = &self.counters;
        writeln!(
            f,
            "ebbtide: stacks under {POLICY}: {} switches, {} pages rested, {} freed, {growth_faults} faults that \
             populated, {} threads parked",
            cache.switches, cache.pages_rested, cache.pages_freed, cache.parked,
        )?;
        match &self.depths {
            Some(depths) => write!(f, "ebbtide: {depths}"),
            None => f.write_str("ebbtide: how deep they are used only an image with `--audit` knows"),
        }
    }
}
