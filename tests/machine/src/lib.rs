//! A machine on the host, on which the real core and its policies run, and which checks every step.
//!
//! What is simulated is what the kernel's contracts hide: RAM, page walkers, TLBs that go stale, CPUs, timers. What is
//! real is everything above: scheduler, threads, stack slots, stack caches, rings, policies. A test gives a seed and
//! a program; the same seed gives the same run, to the last step.
//!
//! - [`Ram`](ram) is host memory behind a [`Window`](ebbtide_core::memory::window::Window): core's own
//!   [`Tables`](ebbtide_core::memory::table::Tables) write real entries there, in the encoding of [`entry`].
//! - A [TLB](tlb) may take any entry that is valid at that moment, at any step, and keeps it until its CPU invalidates
//!   that page. Under [`Fill::Eager`] every TLB takes everything that ever was valid: a translation that may be stale on
//!   some schedule is stale on this one.
//! - A walker sets Accessed, and Dirty for a store, in one atomic step with its look at the valid bit. Entries of stacks
//!   have both from the beginning, so that no walker writes them: one that had to is an error, unless a plan allows it.
//! - A populated page is there for use once [`Paging::publish`](ebbtide_core::arch::Paging::publish) was called; touching
//!   it before is an error.
//! - A kernel thread is a [coroutine](context) whose stack is the host's. Its *kernel* stack is simulated: the stack
//!   pointer moves with [`deeper`], and the records that this leaves there, those of the switch, and the trap frames of
//!   preemptions lie in RAM, behind the MMU, and have to survive.
//! - A thread that borrows a temporary stack goes on on that one; those that it has left lie as they were left until it is back.
//! - Every call into a contract is a [step](baton): another CPU may run there, a TLB may fill itself, and with interrupts
//!   on, a timer interrupt may come. One that nothing masks may come at any step.
//! - The [checks] look from outside, at entries, TLBs and counts, and never at what core believes.
//!
//! Memory is sequentially consistent, since CPUs take turns: what order of loads and stores allows is for `loom`.

pub mod baton;
mod board;
pub mod checks;
pub mod context;
mod cpu;
pub mod entry;
mod forever;
mod hook;
mod machine;
mod mmu;
mod outcome;
mod paging;
mod plan;
pub mod program;
pub mod ram;
mod schedule;
mod switch;
mod system;
pub mod tamper;
mod temporary;
mod thread;
pub mod tlb;
mod traps;

pub use outcome::{End, Outcome};
pub use plan::Plan;
pub use schedule::Fill;
pub use system::Host;
pub use tamper::Wrong;
pub use thread::{
    access_faults, cache_counters, counts, cpu_number, deeper, empty_cache, in_user_mode, is_on_temporary, refuse,
    resting_pages, room, run_down, settle, sleep, spurious_faults, work,
};
