//! Spawning with a result, and waiting for it: std's `Builder` and `JoinHandle`.
#![expect(unsafe_code, reason = "scoped threads borrow what the scope keeps alive")]

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use crate::audit;
use crate::stack::{Pages, StackError};
use crate::sync::{SpinLock, WaitQueue};
use crate::system::System;
use crate::thread::spawn::reserve_heap;
use crate::thread::{
    CpuSet, Kind, NoSuchCpu, Priority, Request, Thread, ThreadHandle, Work, affinity, local, spawn_noted,
};
use crate::time::{self, NEVER};

/// Bytes of stack that a thread has when it does not ask for more: what a Linux kernel thread has.
pub const DEFAULT_STACK_BYTES: u64 = 16 << 10;

/// What `join` returns: std's `thread::Result`, without a panic to carry.
pub type Result<T> = core::result::Result<T, core::convert::Infallible>;

/// Where a thread leaves its result.
#[derive(Debug)]
pub(super) struct Packet<T> {
    result: SpinLock<Option<T>>,
    ended: WaitQueue,
}

impl<T> Packet<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { result: SpinLock::new(None), ended: WaitQueue::new() })
    }

    /// The thread leaves its result.
    pub(super) fn leave<S: System>(&self, result: T) {
        self.result.with::<S, _>(|slot| *slot = Some(result));
        self.ended.wake_all::<S>();
    }

    /// Says whether the result is there to be taken.
    pub(super) fn is_left<S: System>(&self) -> bool {
        self.result.with::<S, _>(|result| result.is_some())
    }

    /// Takes the result, which nobody has taken, until `deadline` (nanoseconds since boot) at the latest.
    pub(super) fn take_until<S: System>(&self, deadline: u64) -> Option<T> {
        let mut result = None;
        let _in_time = self.ended.wait_while_until::<S>(deadline, || {
            result = self.result.with::<S, _>(Option::take);
            result.is_none()
        });
        result
    }

    /// Takes the result, which nobody has taken, when it is there.
    pub(super) fn take<S: System>(&self) -> T {
        self.take_until::<S>(NEVER).expect("a thread that has ended left its result")
    }
}

/// Chooses what a thread is spawned with: std's `thread::Builder`.
#[derive(Debug)]
#[must_use = "it does nothing until `spawn`"]
pub struct Builder {
    name: Option<String>,
    stack_bytes: u64,
    pages: Pages,
    priority: Priority,
    /// `None`: its spawner's.
    affinity: Option<CpuSet>,
}

impl Builder {
    /// Starts with std's defaults: no name; 16 KiB of stack, left to the policy; normal priority; the CPUs of the thread that
    /// spawns it.
    pub const fn new() -> Self {
        Self {
            name: None,
            stack_bytes: DEFAULT_STACK_BYTES,
            pages: Pages::OfKernelThread,
            priority: Priority::NORMAL,
            affinity: None,
        }
    }

    /// Names the thread.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Asks for at least `bytes` of stack: 8 KiB to 1 MiB, rounded up to a power of two. A stack above 64 KiB is
    /// always populated.
    pub const fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = bytes as u64;
        self
    }

    /// Asks for a stack that is always populated, whatever the policy (the mail's "permanent big stacks").
    pub const fn always_populated(mut self) -> Self {
        self.pages = Pages::Always;
        self
    }

    /// Chooses the priority.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Binds the thread to these CPUs, and with it those that it spawns.
    ///
    /// # Errors
    ///
    /// None of them runs.
    pub fn affinity<S: System>(mut self, cpus: CpuSet) -> core::result::Result<Self, NoSuchCpu> {
        affinity::check::<S>(cpus)?;
        self.affinity = Some(cpus);
        Ok(self)
    }

    /// Spawns a thread that runs `f`.
    ///
    /// # Errors
    ///
    /// There is no memory for its stack, or no stack is that large.
    pub fn spawn<S, F, T>(self, f: F) -> core::result::Result<JoinHandle<S, T>, StackError>
    where
        S: System,
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: neither the closure nor its result borrows anything that could end.
        unsafe { self.spawn_unchecked::<S, F, T>(f, |_| ()) }
    }

    /// The same for a thread that goes to user mode; `note` gets to know it before it can run.
    pub(crate) fn spawn_for_user_mode<S, F, T>(
        mut self,
        f: F,
        note: impl FnOnce(&Arc<Thread>),
    ) -> core::result::Result<JoinHandle<S, T>, StackError>
    where
        S: System,
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.pages = Pages::OfUserThread;
        // SAFETY: as above.
        unsafe { self.spawn_unchecked::<S, F, T>(f, note) }
    }

    /// Spawns a thread whose closure may borrow.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::spawn`].
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow lives until `f` has been run and the result is gone.
    #[inline(always)]
    pub(super) unsafe fn spawn_unchecked<'a, S, F, T>(
        self,
        f: F,
        note: impl FnOnce(&Arc<Thread>),
    ) -> core::result::Result<JoinHandle<S, T>, StackError>
    where
        S: System,
        F: FnOnce() -> T + Send + 'a,
        T: Send + 'a,
    {
        let heap = reserve_heap::<S>(size_of::<Packet<T>>() + size_of::<F>(), self.stack_bytes)?;
        let packet = Packet::new();
        let theirs = Arc::clone(&packet);
        let request = Request {
            name: self.name.map(String::into_boxed_str),
            kind: Kind::App,
            priority: self.priority,
            stack_bytes: self.stack_bytes,
            pages: self.pages,
            affinity: self.affinity.unwrap_or_else(affinity::affinity::<S>),
            heap,
        };
        let work: Box<dyn FnOnce() + Send + 'a> = Box::new(move || {
            let result = audit::first::<S, _, _>(f);
            // Who joins finds the thread-local values gone.
            local::drop_all::<S>();
            theirs.leave::<S>(result);
            // The result, if nobody wants it: its end may touch thread-local values once more.
            drop(theirs);
            local::drop_all::<S>();
        });
        // SAFETY: by the caller's promise what it borrows lives for as long as the thread uses it.
        let work = unsafe { core::mem::transmute::<Box<dyn FnOnce() + Send + 'a>, Work>(work) };
        let thread = spawn_noted::<S>(request, work, note)?;
        Ok(JoinHandle { thread: ThreadHandle::new(thread), packet })
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// The right to wait for a thread's end: std's `JoinHandle`. Dropping it lets the thread go on by itself.
pub struct JoinHandle<S, T> {
    thread: ThreadHandle<S>,
    packet: Arc<Packet<T>>,
}

impl<S: System, T> JoinHandle<S, T> {
    /// The thread.
    pub fn thread(&self) -> &ThreadHandle<S> {
        &self.thread
    }

    /// Says whether the thread has left its result.
    pub fn is_finished(&self) -> bool {
        self.packet.is_left::<S>()
    }

    /// Waits until the thread has left its result, and returns that. As in std the thread may still be on its last steps.
    ///
    /// # Errors
    ///
    /// Never: a panic ends the whole run. The type is std's, so that `join().unwrap()` means the same.
    pub fn join(self) -> Result<T> {
        Ok(self.packet.take::<S>())
    }

    /// Waits like [`JoinHandle::join`], for `timeout` at most. std has no such function.
    ///
    /// # Errors
    ///
    /// The time is up: the handle is given back.
    pub fn join_timeout(self, timeout: Duration) -> core::result::Result<T, Self> {
        self.packet.take_until::<S>(time::after::<S>(timeout)).ok_or(self)
    }
}

impl<S, T> fmt::Debug for JoinHandle<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}
