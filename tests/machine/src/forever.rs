//! What core takes for everlasting, and a machine does not outlive.
#![expect(unsafe_code, reason = "memory that is given back once nobody can ask for it")]

use std::ops::Deref;
use std::ptr::NonNull;

/// A value that is there until it is ended.
#[derive(Debug)]
pub(crate) struct Forever<T: 'static>(&'static T);

impl<T> Clone for Forever<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Forever<T> {}

impl<T> Forever<T> {
    pub fn new(value: T) -> Self {
        Self(Box::leak(Box::new(value)))
    }

    /// The value, for as long as it is not ended.
    pub fn get(self) -> &'static T {
        self.0
    }

    /// Drops the value and gives its memory back.
    ///
    /// # Safety
    ///
    /// Nobody uses the value any more, and it was not ended before.
    pub unsafe fn end(self) {
        // SAFETY: `new` made it of a box, and by the caller's promise there is no other use of it.
        drop(unsafe { Box::from_raw(NonNull::from(self.0).as_ptr()) });
    }
}

impl<T> Deref for Forever<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}
