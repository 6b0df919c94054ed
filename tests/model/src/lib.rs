//! An exhaustive model of the kernel: two or three CPUs, a few threads and a few frames, in every order of their steps.
//!
//! What is real is the kernel, all of it above its contracts: scheduler, state words, run queues, stack pages, stack caches,
//! rings, the queue of threads that wait for frames, and the policies that reclaim at a switch. What is the model's is what lies below:
//! CPUs that take their turns, TLBs, a timer. Unlike the model of a machine in `tests/machine`, which takes long runs on
//! random schedules, this one takes tiny programs on *all* schedules.
//!
//! - **A state** is memory: the kernel's data, each CPU's, each thread's, page-table entries, the stacks of the coroutines that
//!   the threads execute on, and what the model's own books say. All of that lies in fixed places and is
//!   saved and restored, so that every step can be taken in every state, and two ways to the same state are one from there on.
//! - **A step** goes from one point at which others may come in to the next. Such points stand before a CPU writes an entry and
//!   after it has read one, at each change of the stack pointer, before interrupts are turned off, before each CPU's
//!   invalidation, and where a program says so. Between two of them a CPU touches at most one thing that another
//!   one may write, or is the only one who may: a state word by one operation of `StateWord` (whose own orders are
//!   `loom`'s: `sync::atomic::models`), a run queue of its own, what a lock holds.
//! - **Interrupts**: the timer's may come at any such point with interrupts on, a number of times; after that it comes
//!   when nothing else can happen. One of another CPU comes at the first such point, or at any
//!   ([`Plan::between_cpus`]), and is there once however often it was sent.
//! - **Looked at** after each step, from outside: a frame is in one place; no TLB maps a page to a frame that the page has not
//!   (present or resting); a thread that runs, and the live part of one that sleeps, has its pages, with the frames that it
//!   had; a thread is in one queue or inbox, or runs on one CPU, and no CPU has halted where one is ready; not all have
//!   halted while a thread waits for frames and none for a point in time. At the end of a run no frame is lost, and the end is one that the test
//!   allows. And from every state there is a way to an end: nobody waits for ever, and nobody goes round for ever.
//! - **Reductions**: with three CPUs, or where a plan says so, an idle thread takes its own affairs in one step (what it writes and frees still has its
//!   points); a TLB takes whatever is valid at once ([`Fill::Eager`], which says why that is enough; `Fill::AnyTime` is
//!   explored too); with one CPU nothing can come in where interrupts are off; what the kernel only counts is made zero, and links of threads that are in no queue are.
//!
//! The order is breadth first, so the trace of what goes wrong is a shortest one.

mod books;
mod checks;
mod contract;
mod coroutine;
mod explore;
mod memory;
mod paging;
mod plan;
mod program;
mod world;

pub use contract::{Board, Model};
pub use explore::{Explored, Violation};
pub use plan::{Ended, Fill, Plan, Reach, STACK_BYTES, Walker};
pub use program::{deeper, done, in_user_mode, reclaim, sweep, unpark, work};
