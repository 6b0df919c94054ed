//! Locks: spin locks for the kernel itself, sleeping ones for threads.

pub mod atomic;
mod barrier;
mod condvar;
pub mod mpsc;
mod mutex;
mod once;
mod once_lock;
pub(crate) mod order;
mod rwlock;
mod semaphore;
mod spin;
mod wait_loop;
mod wait_queue;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard, RawMutex};
pub use once::Once;
pub use once_lock::{LazyLock, OnceLock};
pub use rwlock::{RawRwLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::Semaphore;
pub use spin::{RawSpinLock, SpinLock};
pub use wait_queue::WaitQueue;

pub(crate) use wait_queue::pass_on;
