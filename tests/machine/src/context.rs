//! What executes: a kernel thread, or the boot code of a CPU, as a coroutine.
//!
//! The host's stack of a coroutine holds what Rust needs. The *kernel* stack is simulated beside it: a stack pointer, and
//! the records that the model puts into RAM. When the machine ends, whatever still waits in a coroutine is forgotten as
//! it stands, without unwinding.
#![expect(unsafe_code, reason = "coroutines that are left for good")]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use ebbtide_core::VirtAddr;
use ebbtide_core::stack::Slot;

/// Bytes of a coroutine's own stack: what unoptimised Rust needs, a panic's message included.
const HOST_STACK_BYTES: usize = 512 << 10;

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// On no CPU: it is new, waits, or is ready.
    Away,
    /// On this CPU.
    On(usize),
    /// It has left for good.
    Gone,
}

/// A stack that was left for a temporary one.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Its top.
    pub top: u64,
    /// Where the stack pointer stood.
    pub stack_pointer: u64,
}

/// A thread's execution.
pub struct Context {
    /// The top of the stack that it is on; 0 for boot code, whose stack is no kernel stack.
    pub top: Cell<u64>,
    /// The stacks that it has left for others, the one that it began on first.
    pub left: RefCell<Vec<Left>>,
    /// Where its stack pointer stands, or was saved.
    pub stack_pointer: Cell<u64>,
    /// Where it is.
    pub whereabouts: Cell<Whereabouts>,
    /// Where its stack pointer stood when it went to user mode, until it is back: of its stack nothing is in use then but what a
    /// preemption may need below that.
    pub in_user_mode: Cell<Option<u64>>,
    /// Pages of its stack have gone while it runs on it: it is about to leave.
    pub is_leaving: Cell<bool>,
    coroutine: RefCell<Option<Coroutine<(), (), ()>>>,
    yielder: Cell<Option<*const Yielder<(), ()>>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({:#x}, {:?})", self.top.get(), self.whereabouts)
    }
}

impl Context {
    /// Creates one that will run `f`, which never returns, on the stack with this `top`.
    ///
    /// # Panics
    ///
    /// The host has no memory for a stack.
    pub fn new(top: u64, f: impl FnOnce() + 'static) -> Self {
        let stack = DefaultStack::new(HOST_STACK_BYTES).expect("the host has memory for a stack");
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            crate::machine::current().context().yielder.set(Some(yielder));
            // The hook has noted a panic, which ended the run.
            if catch_unwind(AssertUnwindSafe(f)).is_err() {
                crate::baton::halt();
            }
        });
        Self {
            top: Cell::new(top),
            left: RefCell::default(),
            stack_pointer: Cell::new(top),
            whereabouts: Cell::new(Whereabouts::Away),
            in_user_mode: Cell::new(None),
            is_leaving: Cell::new(false),
            coroutine: RefCell::new(Some(coroutine)),
            yielder: Cell::new(None),
        }
    }

    /// The slot of the stack that it is on; none for boot code.
    pub fn slot(&self) -> Option<Slot> {
        Slot::of(VirtAddr::new(self.top.get().checked_sub(1)?))
    }

    /// Says whether it is on a temporary stack.
    pub fn is_on_temporary(&self) -> bool {
        !self.left.borrow().is_empty()
    }

    /// Goes on with it until it pauses.
    ///
    /// # Panics
    ///
    /// It returned, which core's threads never do.
    pub(crate) fn resume(&self) {
        let mut coroutine = self.coroutine.borrow_mut();
        let result = coroutine.as_mut().expect("a context that was not forgotten").resume(());
        assert!(matches!(result, CoroutineResult::Yield(())), "a thread returned from its entry");
    }

    /// Pauses it, from within.
    pub(crate) fn pause(&self) {
        let yielder = self.yielder.get().expect("a context that runs");
        // SAFETY: the coroutine that owns it is the one that executes this, since it is its CPU's context.
        unsafe { &*yielder }.suspend(());
    }

    /// Forgets what it was doing.
    pub(crate) fn forget(&self) {
        if let Some(mut coroutine) = self.coroutine.borrow_mut().take() {
            // SAFETY: what its stack still holds is leaked, and nobody refers to it: the thread has left for good, or
            // the machine has ended.
            unsafe { coroutine.force_reset() };
        }
    }
}
