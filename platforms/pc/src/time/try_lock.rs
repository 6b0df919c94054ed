//! A lock that nobody waits for: who finds it held leaves, because the holder does the same work.
#![expect(unsafe_code, reason = "a lock hands out references to what it guards")]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that one caller at a time may change.
#[derive(Debug)]
pub struct TryLock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `try_with` lets one caller at a time reach the value.
unsafe impl<T: Send> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    /// Creates a free lock.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value, or returns `None` at once if another caller is at it.
    pub fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.held.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `held` went from false to true, so until it is cleared below nobody else has a reference.
        let result = f(unsafe { &mut *self.value.get() });
        self.held.store(false, Ordering::Release);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_caller_leaves() {
        let lock = TryLock::new(1);
        let inner = lock.try_with(|value| {
            *value += 1;
            lock.try_with(|_| ())
        });
        assert_eq!(inner, Some(None));
        assert_eq!(lock.try_with(|value| *value), Some(2));
    }
}
