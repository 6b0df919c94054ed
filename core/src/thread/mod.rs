//! Threads and the scheduler.

pub(crate) mod affinity;
pub(crate) mod border;
mod departure;
mod idle;
mod inbox;
mod join;
mod local;
mod park;
pub(crate) mod placement;
pub mod reclaimer;
mod reserve;
mod run_queue;
mod schedule;
mod scope;
mod spawn;
pub(crate) mod stack_wait;
pub(crate) mod state;
#[expect(clippy::module_inception, reason = "the thread itself is a part of what this module is about")]
pub(crate) mod thread;
mod timers;

pub use affinity::{CpuSet, NoSuchCpu, affinity, current_cpu, set_affinity};
pub use join::{Builder, DEFAULT_STACK_BYTES, JoinHandle, Result};
pub use local::{AccessError, LocalKey};
pub use park::{ThreadHandle, current, park, park_timeout, sleep, sleep_until};
pub use run_queue::{PRIORITIES, RunQueue};
pub use schedule::{SLICE_NS, preempt, timer_interrupt, yield_now};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Request, Work, spawn};
pub use stack_wait::StackWait;
pub use state::StateWord;
pub use thread::{Head, Kind, Priority, Thread, ThreadId};
pub use timers::Timers;

pub use crate::stack::Leaving;

pub(crate) use idle::idle;
pub(crate) use inbox::Inbox;
pub(crate) use placement::{Placement, reschedule_interrupt};
pub(crate) use schedule::{block, first, wake, wake_handle};
pub(crate) use spawn::{begin, create, create_without_work, end, reap, spawn_noted, stack_top};
pub(crate) use thread::{ThreadCell, from_pointer, share};
pub(crate) use timers::block_until;
