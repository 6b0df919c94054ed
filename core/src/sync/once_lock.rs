//! `OnceLock` and `LazyLock`: values that are made once.
#![expect(unsafe_code, reason = "a value is reached without a lock once it is known to be there")]

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

use crate::sync::Once;
use crate::system::System;

/// A value that is set once: std's `OnceLock`.
pub struct OnceLock<S, T> {
    once: Once<S>,
    /// Written by the one call of `once`, and only read when that has completed.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a reference to the value is given to any thread, and the value may be set by one and dropped by another.
unsafe impl<S, T: Send + Sync> Sync for OnceLock<S, T> {}

impl<S: System, T> OnceLock<S, T> {
    /// Creates one that is not set.
    pub const fn new() -> Self {
        Self { once: Once::new(), value: UnsafeCell::new(None) }
    }

    /// The value, if it is set.
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: the one write is done, and nobody changes it without owning the lock.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The value, if it is set, to change.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// It is set already: the new one is given back.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("the value is taken once"));
        value.map_or(Ok(()), Err)
    }

    /// The value, which `f` makes if it is not set; if another thread is making it, this one waits.
    ///
    /// An `f` that asks for the value waits for itself, as in std.
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        self.once.call_once(|| {
            let value = f();
            // SAFETY: this runs once, and nobody looks before it has.
            unsafe { *self.value.get() = Some(value) };
        });
        self.get().expect("a value that was made is there")
    }

    /// The value, for which it waits until it is set.
    pub fn wait(&self) -> &T {
        self.once.wait();
        self.get().expect("a value that was made is there")
    }

    /// The value, for which it waits until it is set, for `timeout` at most. std has no such function.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<&T> {
        self.once.wait_timeout(timeout).then(|| self.get()).flatten()
    }

    /// The value, if it was set.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value, if it is set; then it can be set again.
    pub fn take(&mut self) -> Option<T> {
        self.once.reset();
        self.value.get_mut().take()
    }
}

impl<S: System, T> Default for OnceLock<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: System, T: fmt::Debug> fmt::Debug for OnceLock<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}

impl<S: System, T: Clone> Clone for OnceLock<S, T> {
    fn clone(&self) -> Self {
        self.get().cloned().map_or_else(Self::new, Self::from)
    }
}

impl<S: System, T> From<T> for OnceLock<S, T> {
    fn from(value: T) -> Self {
        let lock = Self::new();
        lock.get_or_init(|| value);
        lock
    }
}

impl<S: System, T: PartialEq> PartialEq for OnceLock<S, T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<S: System, T: Eq> Eq for OnceLock<S, T> {}

/// A value that is made by the first access: std's `LazyLock`.
pub struct LazyLock<S, T, F = fn() -> T> {
    value: OnceLock<S, T>,
    /// Taken by the one call that makes the value.
    init: Cell<Option<F>>,
}

// SAFETY: `init` is reached within `get_or_init` alone, which lets one thread in; the value is OnceLock's.
unsafe impl<S, T: Send + Sync, F: Send> Sync for LazyLock<S, T, F> {}

impl<S: System, T, F: FnOnce() -> T> LazyLock<S, T, F> {
    /// Creates a value that `init` makes when it is asked for.
    pub const fn new(init: F) -> Self {
        Self { value: OnceLock::new(), init: Cell::new(Some(init)) }
    }

    /// The value, which this makes if it is the first access; if another thread is making it, this one waits.
    pub fn force(this: &Self) -> &T {
        this.value.get_or_init(|| {
            let init = this.init.take().expect("a lazy value is made once");
            init()
        })
    }
}

impl<S: System, T, F: FnOnce() -> T> Deref for LazyLock<S, T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<S: System, T: Default> Default for LazyLock<S, T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<S: System, T: fmt::Debug, F> fmt::Debug for LazyLock<S, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("LazyLock");
        match self.value.get() {
            Some(value) => tuple.field(value),
            None => tuple.field(&format_args!("<uninit>")),
        };
        tuple.finish()
    }
}
