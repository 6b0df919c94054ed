//! Locks for threads: std's `sync`.
//!
//! There is no poisoning, since a panic ends the run: `lock` returns the guard itself, and so do the waits of a
//! [`Condvar`]; `try_lock` returns an `Option` of it, `into_inner` and `get_mut` what is guarded. `Arc` and `Weak` are alloc's own.
//!
//! ```ignore
//! let level = Arc::new(Mutex::new(0));
//! let moon = Arc::clone(&level);
//! thread::spawn(move || *moon.lock() += 1).join().unwrap();
//! println!("{}", *level.lock());
//! ```

pub use alloc::sync::{Arc, Weak};

use ebbtide_core::sync;

use crate::system::Ebbtide;

/// A lock that threads sleep on.
pub type Mutex<T> = sync::Mutex<Ebbtide, T>;

/// The right to use what a [`Mutex`] guards, until it is dropped.
pub type MutexGuard<'a, T> = sync::MutexGuard<'a, Ebbtide, T>;

/// Threads wait here for what others do under a [`Mutex`].
pub type Condvar = sync::Condvar<Ebbtide>;
