//! Locks: spin locks for the kernel itself, sleeping ones for threads.

pub mod atomic;
mod condvar;
mod mutex;
mod spin;
mod wait_loop;
mod wait_queue;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard, RawMutex};
pub use spin::{RawSpinLock, SpinLock};
pub use wait_queue::WaitQueue;
