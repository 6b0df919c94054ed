//! Locks: spin locks for the kernel itself, sleeping ones for threads.

pub mod atomic;
mod mutex;
mod spin;
mod wait_queue;

pub use mutex::{Condvar, Mutex, MutexGuard, RawMutex};
pub use spin::{RawSpinLock, SpinLock};
pub use wait_queue::WaitQueue;
