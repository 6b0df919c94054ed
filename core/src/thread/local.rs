//! Thread-local values: std's `LocalKey`.
//!
//! A thread's values form a list that hangs on one word of the thread, newest first, and a value is found by its key's
//! address. So a thread pays for what it uses, a thread that uses none pays one word, and a switch does nothing for
//! them. A look-up takes a step for each key that the thread has used; an app has few.
//!
//! The values of a thread end in it, after its closure and before anyone who joins it goes on. What has ended stays in
//! the list until all have, so that a destructor that asks for another value finds out that it is gone.
#![expect(unsafe_code, reason = "a thread's values are reached by nobody else, which the types cannot tell")]

use alloc::boxed::Box;
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::cpu;
use crate::system::System;
use crate::thread::Thread;

/// Names a value that each thread has for itself: std's `LocalKey`. Made by `thread_local!`.
pub struct LocalKey<S, T: 'static> {
    init: fn() -> T,
    system: PhantomData<fn() -> S>,
}

/// The value was asked for when it had ended already, or was about to: std's `AccessError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread-local value has ended already")
    }
}

impl core::error::Error for AccessError {}

/// One of a thread's values.
#[derive(Debug)]
pub(crate) struct Local {
    /// The key's address.
    key: *const (),
    /// The value; none once it has ended.
    value: Cell<Option<NonNull<dyn Any>>>,
    /// The next older one.
    next: *mut Local,
}

impl<S, T> fmt::Debug for LocalKey<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

impl<S: System, T: 'static> LocalKey<S, T> {
    /// Creates the key of values that begin with what `init` returns. It has to be a static.
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init, system: PhantomData }
    }

    /// Runs `f` on this thread's value, which is made by the first access.
    ///
    /// # Panics
    ///
    /// The thread is ending, and the value has ended already.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        f(self.get_or_init(self.init).expect("a thread-local value is used while the thread lives"))
    }

    /// Runs `f` on this thread's value, which is made by the first access.
    ///
    /// # Errors
    ///
    /// The thread is ending, and the value has ended already.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        self.get_or_init(self.init).map(f)
    }

    /// This thread's value. The caller, who is in this thread, gives the reference to nobody who keeps it.
    fn get_or_init<'a>(&'static self, init: impl FnOnce() -> T) -> Result<&'a T, AccessError> {
        let me = cpu::current::<S>();
        let key = core::ptr::from_ref(self).cast();
        let value = match find(me, key) {
            Some(local) => local.value.get().ok_or(AccessError)?,
            None => insert(me, key, Box::new(init())),
        };
        // SAFETY: it ends with the thread, outside of any access but those of destructors, who no longer find it.
        let value = unsafe { value.as_ref() };
        Ok(value.downcast_ref().expect("the values of a key are of one type"))
    }
}

impl<S: System, T: 'static> LocalKey<S, Cell<T>> {
    /// Sets this thread's value. If it is the first access, the key's own beginning is not asked for.
    ///
    /// # Panics
    ///
    /// The thread is ending, and the value has ended already.
    pub fn set(&'static self, value: T) {
        let mut value = Some(value);
        let cell = self.get_or_init(|| Cell::new(value.take().expect("the value is taken once")));
        let cell = cell.expect("a thread-local value is set while the thread lives");
        if let Some(value) = value {
            cell.set(value);
        }
    }

    /// This thread's value.
    ///
    /// # Panics
    ///
    /// The thread is ending, and the value has ended already.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes this thread's value and leaves the default.
    ///
    /// # Panics
    ///
    /// The thread is ending, and the value has ended already.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Replaces this thread's value, and returns the old one.
    ///
    /// # Panics
    ///
    /// The thread is ending, and the value has ended already.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<S: System, T: 'static> LocalKey<S, RefCell<T>> {
    /// Runs `f` on this thread's value.
    ///
    /// # Panics
    ///
    /// The value is borrowed mutably; or the thread is ending, and the value has ended already.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Runs `f` on this thread's value, which it may change.
    ///
    /// # Panics
    ///
    /// The value is borrowed; or the thread is ending, and the value has ended already.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets this thread's value. If it is the first access, the key's own beginning is not asked for.
    ///
    /// # Panics
    ///
    /// The value is borrowed; or the thread is ending, and the value has ended already.
    pub fn set(&'static self, value: T) {
        let mut value = Some(value);
        let cell = self.get_or_init(|| RefCell::new(value.take().expect("the value is taken once")));
        let cell = cell.expect("a thread-local value is set while the thread lives");
        if let Some(value) = value {
            cell.replace(value);
        }
    }

    /// Takes this thread's value and leaves the default.
    ///
    /// # Panics
    ///
    /// The value is borrowed; or the thread is ending, and the value has ended already.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Replaces this thread's value, and returns the old one.
    ///
    /// # Panics
    ///
    /// The value is borrowed; or the thread is ending, and the value has ended already.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

/// The running thread's values, newest first.
fn locals(me: &Thread) -> impl Iterator<Item = &Local> {
    let follow = |pointer: *mut Local| {
        // SAFETY: the list holds what `insert` left, until `drop_listed` has emptied it; both run in this thread.
        unsafe { pointer.as_ref() }
    };
    core::iter::successors(follow(me.locals.load(Ordering::Relaxed)), move |local| follow(local.next))
}

fn find(me: &Thread, key: *const ()) -> Option<&Local> {
    locals(me).find(|local| core::ptr::eq(local.key, key))
}

/// Adds a value to the running thread's.
fn insert(me: &Thread, key: *const (), value: Box<dyn Any>) -> NonNull<dyn Any> {
    let value = NonNull::from(Box::leak(value));
    match find(me, key) {
        // What made it has made it before, by asking for it. Nobody holds that one any more, and as in std it goes.
        Some(local) => {
            if let Some(old) = local.value.replace(Some(value)) {
                end(old);
            }
        }
        None => {
            let next = me.locals.load(Ordering::Relaxed);
            let local = Box::new(Local { key, value: Cell::new(Some(value)), next });
            me.locals.store(Box::into_raw(local), Ordering::Relaxed);
        }
    }
    value
}

/// Ends a value that has been taken out of the list's reach.
fn end(value: NonNull<dyn Any>) {
    // SAFETY: it came out of a box in `insert`, and who took it out is the only one who has it.
    drop(unsafe { Box::from_raw(value.as_ptr()) });
}

/// Ends the running thread's values: nothing is left for another to find.
pub(crate) fn drop_all<S: System>() {
    let me = cpu::current::<S>();
    if !me.locals.load(Ordering::Relaxed).is_null() {
        drop_listed(me);
    }
}

#[cold]
fn drop_listed(me: &Thread) {
    // A destructor may make values that were not there before; they come first in the list, and end too. One that has
    // ended is not made again, so this ends.
    while let Some(value) = locals(me).find_map(|local| local.value.take()) {
        end(value);
    }
    let mut next = me.locals.swap(core::ptr::null_mut(), Ordering::Relaxed);
    while !next.is_null() {
        // SAFETY: `insert` left it, and nobody reaches the list any more.
        let local = unsafe { Box::from_raw(next) };
        next = local.next;
    }
}
