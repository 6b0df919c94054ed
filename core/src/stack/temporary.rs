//! `stack::call_with`: a closure runs on a temporary stack, which is as large as the caller asks for.
//!
//! Matthew Wilcox's other idea (Linux kernel mailing list, "Re: [RFC 00/14] Dynamic Kernel Stacks", March 2024): a code path that goes
//! deep borrows a stack for as long as it does, so that threads that never take it need none of that size.
//!
//! - A temporary stack is a slot like any other, whose note names the thread that borrows it: traps, reports and growth find that from
//!   the address. It comes from where a spawn's comes from, by the same rules (kept stacks first; nothing is taken that others wait
//!   for; it fails rather than park), and goes where the stack of a thread goes that has ended.
//! - While the closure runs, it is *the* stack of its thread, wherever that is asked for. So the switch, which knows of one stack, is as
//!   it was, and the policy takes and gives pages of this one. It starts fully populated.
//! - The stack that was left keeps the pages that it has until the call returns, also while the thread sleeps: its frames hold what the
//!   closure refers to, and to return must not fail, and needs no frame like this. That is the price: a thread that sleeps in a call
//!   costs what its older stacks have.
//! - Calls nest: the stacks that were left are a chain of records, each on the stack that it tells of.
#![expect(unsafe_code, reason = "moves a thread from one stack to another")]

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

use memory_addresses::VirtAddr;

use crate::arch::{Cpu, Switch};
use crate::cpu;
use crate::stack::page::Stack;
use crate::stack::policy::StackPolicy;
use crate::stack::range::{self, Pages, StackError};
use crate::stack::slot::{MAX_POLICY_STACK_BYTES, Slot};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::system::System;
use crate::thread::Thread;

/// Why a closure was not called on a temporary stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// Preemption or interrupts are off, so the thread may not wait for frames.
    MayNotSleep,
    /// There is no stack.
    NoStack(StackError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MayNotSleep => f.write_str(
                "stack::call_with may have to wait for memory, and preemption or interrupts are off; call it before they are",
            ),
            Self::NoStack(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CallError {}

/// A stack that its thread has left for a temporary one. Lies on that very stack, until the thread is back.
#[derive(Debug)]
pub(crate) struct Left {
    /// Its place.
    slot: Slot,
    /// The stack of the two that the thread does not run on: before and after the call the temporary one, else this one.
    stack: UnsafeCell<Stack>,
    /// The stack pointer at which it was left.
    stack_pointer: AtomicU64,
    /// The one that was left before.
    older: Option<NonNull<Self>>,
}

/// What is called on the temporary stack.
struct Errand {
    run: unsafe fn(*mut ()),
    call: *mut (),
}

/// A closure, and what it has returned.
struct Call<F, R> {
    f: Option<F>,
    result: Option<R>,
}

/// Calls `f` on a temporary stack of at least `bytes`, and returns what it returns. May sleep.
///
/// # Errors
///
/// There is no such stack, no memory for it, or the thread may not sleep. Then `f` was not called, and is dropped.
pub fn call_with<S: System, R>(bytes: usize, f: impl FnOnce() -> R) -> Result<R, CallError> {
    let mut call = new_call(f);
    let (run, pointer) = erased(&mut call);
    // SAFETY: `run` takes this pointer, to what lives until it has.
    unsafe { borrow::<S>(bytes as u64, &Errand { run, call: pointer }) }?;
    Ok(call.result.expect("the closure was called"))
}

fn new_call<R, F: FnOnce() -> R>(f: F) -> Call<F, R> {
    Call { f: Some(f), result: None }
}

/// What runs a call, and the pointer that it takes.
fn erased<R, F: FnOnce() -> R>(call: &mut Call<F, R>) -> (unsafe fn(*mut ()), *mut ()) {
    (run::<R, F>, (&raw mut *call).cast())
}

/// Runs a call.
///
/// # Safety
///
/// `call` points to a `Call<F, R>` that nobody else uses meanwhile.
unsafe fn run<R, F: FnOnce() -> R>(call: *mut ()) {
    // SAFETY: the caller's promise.
    let call = unsafe { &mut *call.cast::<Call<F, R>>() };
    call.result = call.f.take().map(|f| f());
}

/// Borrows a stack and runs `errand` on it.
///
/// # Safety
///
/// The errand's function can be called with its pointer, once.
#[inline(never)]
unsafe fn borrow<S: System>(bytes: u64, errand: &Errand) -> Result<(), CallError> {
    if !cpu::may_sleep::<S>() {
        return Err(CallError::MayNotSleep);
    }
    let temporary = allocate::<S>(bytes).map_err(CallError::NoStack)?;
    let (thread, top) = (cpu::current::<S>(), temporary.top());
    range::set_owner::<S>(&temporary, thread);
    let slot = populate_what_is_left::<S>(thread);
    let left = Left {
        slot,
        stack: UnsafeCell::new(temporary),
        stack_pointer: AtomicU64::new(0),
        older: thread.left_stacks.get(),
    };
    // Off until the stack pointer stands where the thread's stack is said to be, on the way there and on the way back.
    cpu::without_preemption::<S, _>(|| {
        exchange::<S>(thread, &left, Some(NonNull::from(&left)));
        // SAFETY: the stack is the thread's own, populated, and nothing is on it; `start` gets the errand that the caller vouches for.
        unsafe {
            S::Arch::call_on(top, start::<S>, (&raw const *errand).cast_mut().cast(), &left.stack_pointer);
        };
        exchange::<S>(thread, &left, left.older);
    });
    give_back::<S>(thread, left.stack.into_inner());
    Ok(())
}

/// A stack that can be run on: all of it is populated. From then on the policy has its say, if it is not too large for that.
fn allocate<S: System>(bytes: u64) -> Result<Stack, StackError> {
    let mut stack = range::allocate::<S>(bytes, Pages::Always)?;
    if stack.slot().class.stack_bytes(S::Policy::GUARD) <= MAX_POLICY_STACK_BYTES {
        stack.pin(false);
        if S::Policy::READS_ACCESSED_BITS {
            // It began as one that is always populated, of which nothing may go.
            stack.begin_accesses::<S::Arch>(S::kernel().settings.accessed());
        }
        S::kernel().note_reserve(&stack);
    }
    Ok(stack)
}

/// Sees to it that the stack in use has all the pages that it needs until the call has returned: what is kept for faults is kept for
/// those on the stack that the thread runs on. Returns its slot.
fn populate_what_is_left<S: System>(thread: &'static Thread) -> Slot {
    let (slot, limit) = cpu::without_preemption::<S, _>(|| {
        // SAFETY: this thread runs, so it holds itself.
        let stack = unsafe { thread.stack_mut() };
        (stack.slot(), stack.limit())
    });
    if S::Policy::GROWS_ON_FAULT {
        // SAFETY: the lowest byte of the running thread's stack, which populates all of it: that is reserved.
        unsafe { S::Arch::touch(limit) };
    }
    slot
}

/// The first function on a temporary stack. Preemption is off, as it is when it returns.
extern "C-unwind" fn start<S: System>(errand: *mut ()) {
    cpu::allow_preemption::<S>();
    // SAFETY: `borrow` passed it, and waits on the stack where it lies.
    let errand = unsafe { &*errand.cast::<Errand>() };
    // SAFETY: by the promise of who called `borrow`; this is the one call.
    unsafe { (errand.run)(errand.call) };
    S::Arch::preempt_disable();
}

/// Exchanges the running thread's stack for the one in `left`; `innermost` is from now on the last that was left. Preemption is off.
fn exchange<S: System>(thread: &'static Thread, left: &Left, innermost: Option<NonNull<Left>>) {
    // SAFETY: nobody but this thread, which is back by then, looks into the record without the lock.
    let other = unsafe { &mut *left.stack.get() };
    S::kernel().left_stacks.locked::<S, _>(|()| {
        // SAFETY: this thread runs, so it holds itself, and those that look at what anybody may see of its stack have the lock.
        core::mem::swap(unsafe { thread.stack_mut() }, other);
        thread.left_stacks.set(innermost);
    });
}

/// Releases a temporary stack, on which nothing is any more. Interrupts are on.
fn give_back<S: System>(thread: &'static Thread, temporary: Stack) {
    cpu::without_preemption::<S, _>(|| {
        // SAFETY: this thread runs, so it holds itself.
        unsafe { thread.stack_mut() }.count_rests_of(&temporary);
    });
    range::release::<S>(temporary);
}

/// The innermost of the stacks that a thread has left for temporary ones.
#[derive(Debug)]
pub(crate) struct LeftStacks(core::sync::atomic::AtomicPtr<Left>);

impl LeftStacks {
    pub(crate) const fn new() -> Self {
        Self(core::sync::atomic::AtomicPtr::new(core::ptr::null_mut()))
    }

    fn get(&self) -> Option<NonNull<Left>> {
        NonNull::new(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, innermost: Option<NonNull<Left>>) {
        self.0.store(innermost.map_or(core::ptr::null_mut(), NonNull::as_ptr), Ordering::Relaxed);
    }

    /// Says whether the thread runs on a temporary stack.
    pub(crate) fn is_on_temporary(&self) -> bool {
        self.get().is_some()
    }

    /// The one in a slot.
    ///
    /// # Safety
    ///
    /// The thread cannot return from a call meanwhile: the kernel's lock of these chains is held, or free and its CPU stands still.
    unsafe fn find(&self, slot: Slot) -> Option<&Left> {
        let mut next = self.get();
        while let Some(left) = next {
            // SAFETY: a record lives until the thread returns from its call, and the caller's promise.
            let left = unsafe { left.as_ref() };
            if left.slot == slot {
                return Some(left);
            }
            next = left.older;
        }
        None
    }
}

/// Where the stack pointer stood when a thread that does not run left its stack in `slot`; nothing if it has none there. `counted` is
/// the number of its rests, if it is the one that the thread goes on with.
pub(crate) fn left_in<S: System>(thread: &Thread, slot: Slot) -> Option<(VirtAddr, Option<u64>)> {
    let saved = thread.saved_stack_pointer();
    S::kernel().left_stacks.locked::<S, _>(|()| {
        if Slot::of(saved) == Some(slot) {
            return Some((saved, Some(thread.rested())));
        }
        // SAFETY: the lock is held.
        let left = unsafe { thread.left_stacks.find(slot) }?;
        Some((VirtAddr::new_truncate(left.stack_pointer.load(Ordering::Relaxed)), None))
    })
}

/// Says whether the stack of a thread that lies in `slot` has its emergency page. All CPUs stand still, and the chains' lock is free.
pub(crate) fn has_emergency_page(thread: &Thread, slot: Slot) -> bool {
    // SAFETY: by the rule above.
    match unsafe { thread.left_stacks.find(slot) } {
        // SAFETY: it is there for as long as its record.
        Some(left) => unsafe { Stack::has_emergency_page_in(left.stack.get()) }.load(Ordering::Relaxed),
        None => thread.has_emergency_page(),
    }
}
