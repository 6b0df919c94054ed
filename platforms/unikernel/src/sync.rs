//! Synchronisation of threads: std's `sync`.
//!
//! The names are std's, and so is what they mean, but for this:
//!
//! - There is no poisoning, since a panic ends the run: `lock`, `read` and `write` return the guard itself, and so do the
//!   waits of a [`Condvar`]; `try_lock` and its kin return an `Option` of it, `into_inner` and `get_mut` what is guarded.
//! - Waits have a form with a time-out, also where std has none: `try_lock_for`, `try_read_for` and `try_write_for` of
//!   the locks (and the same with `_until` and an [`Instant`](crate::time::Instant)), `send_timeout`, and `wait_timeout` of
//!   [`Barrier`], [`Once`] and [`OnceLock`].
//! - [`Semaphore`] is not in std.
//!
//! Who waits sleeps: the CPU is free for others meanwhile, and the stack can ebb. Threads of one priority are served in
//! the order in which they came to wait. But what comes free is offered and not handed over: a thread that did not wait
//! may take it first; one that comes back at once to what it gave up lets those go first who were woken for it. A wake-up
//! is never lost: if the thread that it was meant for goes on because its time is up, the next one has it.
//!
//! `Arc` and `Weak` are alloc's own, the atomics core's.
//!
//! ```ignore
//! let level = Arc::new(Mutex::new(0));
//! let moon = Arc::clone(&level);
//! thread::spawn(move || *moon.lock() += 1).join().unwrap();
//! println!("{}", *level.lock());
//! ```

pub use alloc::sync::{Arc, Weak};
pub use core::sync::atomic;

use ebbtide_core::sync;

#[doc(hidden)]
pub use ebbtide_core::sync::WaitQueue;
pub use ebbtide_core::sync::{BarrierWaitResult, WaitTimeoutResult};

use crate::system::Ebbtide;

/// A lock that threads sleep on.
pub type Mutex<T> = sync::Mutex<Ebbtide, T>;

/// The right to use what a [`Mutex`] guards, until it is dropped.
pub type MutexGuard<'a, T> = sync::MutexGuard<'a, Ebbtide, T>;

/// Threads wait here for what others do under a [`Mutex`].
pub type Condvar = sync::Condvar<Ebbtide>;

/// A lock that many threads may hold to read, or one to write. While a writer waits, no more readers enter.
///
/// A thread that reads must not ask to read again: if a writer has come meanwhile, both wait for ever.
pub type RwLock<T> = sync::RwLock<Ebbtide, T>;

/// The right to read what a [`RwLock`] guards, until it is dropped.
pub type RwLockReadGuard<'a, T> = sync::RwLockReadGuard<'a, Ebbtide, T>;

/// The right to use what a [`RwLock`] guards, until it is dropped.
pub type RwLockWriteGuard<'a, T> = sync::RwLockWriteGuard<'a, Ebbtide, T>;

/// A number of permits, which threads take and give. Who wants one waits until there is one.
///
/// ```ignore
/// static BERTHS: Semaphore = Semaphore::new(2);
///
/// BERTHS.acquire();
/// // At most two threads are here.
/// BERTHS.release();
/// ```
pub type Semaphore = sync::Semaphore<Ebbtide>;

/// Threads wait here for each other, time after time.
pub type Barrier = sync::Barrier<Ebbtide>;

/// Does something once, whichever thread comes first.
pub type Once = sync::Once<Ebbtide>;

/// A value that is set once.
pub type OnceLock<T> = sync::OnceLock<Ebbtide, T>;

/// A value that is made by the first access.
///
/// ```ignore
/// static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| (0..100).collect());
/// ```
pub type LazyLock<T, F = fn() -> T> = sync::LazyLock<Ebbtide, T, F>;

pub mod mpsc {
    //! Channels between threads, with many senders and one receiver: std's `sync::mpsc`.
    //!
    //! ```ignore
    //! let (sender, receiver) = mpsc::channel();
    //! let river = sender.clone();
    //! thread::spawn(move || river.send("ebb"));
    //! thread::spawn(move || sender.send("flow"));
    //! // Ends when both senders are gone.
    //! let words: Vec<_> = receiver.iter().collect();
    //! ```

    use ebbtide_core::sync::mpsc;

    pub use ebbtide_core::sync::mpsc::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };

    use crate::system::Ebbtide;

    /// Sends into a [`channel`]. It can be cloned.
    pub type Sender<T> = mpsc::Sender<Ebbtide, T>;

    /// Sends into a [`sync_channel`]. It can be cloned.
    pub type SyncSender<T> = mpsc::SyncSender<Ebbtide, T>;

    /// Receives what is sent.
    pub type Receiver<T> = mpsc::Receiver<Ebbtide, T>;

    /// Receives until all senders are gone.
    pub type Iter<'a, T> = mpsc::Iter<'a, Ebbtide, T>;

    /// Receives what is there.
    pub type TryIter<'a, T> = mpsc::TryIter<'a, Ebbtide, T>;

    /// Receives until all senders are gone, and owns the receiver.
    pub type IntoIter<T> = mpsc::IntoIter<Ebbtide, T>;

    /// Creates a channel with room for any number of messages: who sends never waits.
    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        mpsc::channel::<Ebbtide, T>()
    }

    /// Creates a channel with room for `bound` messages: when it is full, who sends waits. With 0, who sends waits until
    /// the message has been received.
    pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
        mpsc::sync_channel::<Ebbtide, T>(bound)
    }
}
