//! What a thread executes, as a coroutine that can be taken back to where it stood before.
//!
//! A coroutine that does not run is what its stack holds from the stack pointer up. All of that is part of the state; below
//! it is made zero, so that what was there before is not.
#![expect(unsafe_code, reason = "coroutines are restored as memory")]

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine as Execution, Yielder};

use crate::memory::Memory;
use crate::world::current;

/// Bytes of a coroutine's stack: a panic needs most of it.
const STACK_BYTES: usize = 256 << 10;

/// Bytes of it that may be in use while it does not run.
const SAVED_BYTES: usize = 12 << 10;

/// Bytes below the frame of [`Coroutine::pause`] in which its registers are saved.
const BELOW_PAUSE: usize = 512;

type Inner = Execution<(), (), (), DefaultStack>;

/// A coroutine.
pub(crate) struct Coroutine {
    inner: &'static UnsafeCell<Inner>,
    base: usize,
    limit: usize,
    /// Set when it runs first, and the same ever after.
    yielder: Cell<Option<NonNull<Yielder<(), ()>>>>,
    /// Where its stack pointer was, nearly, when it paused.
    paused_at: Cell<usize>,
}

impl std::fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Coroutine({:#x})", self.base)
    }
}

impl Coroutine {
    /// Creates the coroutine of thread `number`, as a part of the state. It pauses before it runs `f`.
    pub fn new(memory: &mut Memory, number: usize, f: impl FnOnce() + 'static) -> Self {
        let stack = DefaultStack::new(STACK_BYTES).expect("the host has memory for a stack");
        let (base, limit) = (stack.base().get(), stack.base().get() - STACK_BYTES);
        let inner = Execution::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            let this = &current().coroutines[number];
            this.yielder.set(Some(NonNull::from(yielder)));
            this.pause();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
                let what = panic.downcast_ref::<String>().cloned();
                let what = what.or_else(|| panic.downcast_ref::<&str>().map(|what| (*what).to_string()));
                current().broken(format!("a panic: {}", what.unwrap_or_default()));
            }
            loop {
                this.pause();
            }
        });
        let inner: &'static UnsafeCell<Inner> = Box::leak(Box::new(UnsafeCell::new(inner)));
        memory.keep_at(NonNull::from(inner).cast(), size_of::<Inner>() / 8);
        let saved = NonNull::new((base - SAVED_BYTES) as *mut u64).expect("a stack is somewhere");
        memory.keep_at(saved, SAVED_BYTES / 8);
        Self { inner, base, limit, yielder: Cell::new(None), paused_at: Cell::new(base) }
    }

    /// Goes on with it until it pauses.
    pub fn resume(&self) {
        // SAFETY: nobody else resumes it, and it does not run.
        unsafe { &mut *self.inner.get() }.resume(());
        let end = self.paused_at.get() - BELOW_PAUSE;
        assert!(end > self.base - SAVED_BYTES, "more of a stack is in use than is saved");
        // Only what was dirtied: a frame of zeros and the first page below.
        let start = (end - (16 << 10)).max(self.limit);
        // SAFETY: the coroutine's stack, below all that it uses.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, end - start) };
    }

    /// Pauses it, from within. Not inlined: whatever stands in a register then is taken back from its own frame.
    #[inline(never)]
    pub fn pause(&self) {
        let here = 0u64;
        self.paused_at.set((&raw const here).addr());
        scrub();
        let yielder = self.yielder.get().expect("a coroutine that runs");
        // SAFETY: it lies in the frame of the coroutine that executes this.
        unsafe { yielder.as_ref() }.suspend(());
    }
}

/// Makes what lies below the caller's frame zero.
#[inline(never)]
fn scrub() {
    let mut below = [0xffu64; 2 * BELOW_PAUSE / 8];
    for word in &mut below {
        // SAFETY: a local variable.
        unsafe { std::ptr::from_mut(word).write_volatile(0) };
    }
}
