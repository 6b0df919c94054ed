//! Threads that borrow from their spawner: std's `thread::scope`.
//!
//! What they borrow may lie on the spawner's stack. It stays populated while the spawner waits: no policy takes what
//! lies at or above a saved stack pointer.
#![expect(unsafe_code, reason = "the scope waits, which the types cannot tell")]

use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use crate::audit;
use crate::stack::StackError;
use crate::sync::WaitQueue;
use crate::system::System;
use crate::thread::join::Packet;
use crate::thread::{Builder, Result, ThreadHandle, local};
use crate::time;

/// What a scope and its threads share. It is counted: the last thread may be at it when the scope has gone on.
#[derive(Debug, Default)]
struct Running {
    threads: AtomicUsize,
    none_left: WaitQueue,
}

/// Where threads can be spawned that borrow from their spawner: std's `Scope`.
pub struct Scope<'scope, 'env: 'scope, S> {
    running: Arc<Running>,
    // Invariant in both, as in std: a scope must not pass for a shorter or a longer one.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
    system: PhantomData<fn() -> S>,
}

/// The right to wait for a scoped thread's end: std's `ScopedJoinHandle`. The scope waits also for those whose handle
/// was dropped.
pub struct ScopedJoinHandle<'scope, S, T> {
    thread: ThreadHandle<S>,
    packet: Arc<Packet<T>>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

/// Runs `f`, which may spawn threads that borrow what outlives the scope, and waits for all of them.
pub fn scope<'env, S, F, T>(f: F) -> T
where
    S: System,
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env, S>) -> T,
{
    let running = Arc::new(Running::default());
    let scope = Scope { running, scope: PhantomData, env: PhantomData, system: PhantomData };
    let result = f(&scope);
    // Acquire: what the threads did is seen by who goes on.
    scope.running.none_left.wait_while::<S>(|| scope.running.threads.load(Ordering::Acquire) > 0);
    result
}

impl<'scope, S: System> Scope<'scope, '_, S> {
    /// Spawns a thread that runs `f`, with the defaults of [`Builder`].
    ///
    /// # Panics
    ///
    /// There is no memory for its stack; [`Builder::spawn_scoped`] returns that as an error.
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, S, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match Builder::new().spawn_scoped(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("failed to spawn a thread: {error}"),
        }
    }
}

impl Builder {
    /// Spawns a thread that runs `f`, which may borrow what outlives the scope.
    ///
    /// # Errors
    ///
    /// There is no memory for its stack, or no stack is that large.
    pub fn spawn_scoped<'scope, S, F, T>(
        self,
        scope: &'scope Scope<'scope, '_, S>,
        f: F,
    ) -> core::result::Result<ScopedJoinHandle<'scope, S, T>, StackError>
    where
        S: System,
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let packet = Packet::new();
        let theirs = Arc::clone(&packet);
        let running = Arc::clone(&scope.running);
        let work = move || {
            let result = audit::first::<S, _, _>(f);
            // Who joins finds the thread-local values gone.
            local::drop_all::<S>();
            theirs.leave::<S>(result);
            // The result may borrow too: it ends here at the latest, or with its handle, which is gone before the scope.
            drop(theirs);
            // Release: see `scope`.
            if running.threads.fetch_sub(1, Ordering::Release) == 1 {
                running.none_left.wake_all::<S>();
            }
        };
        scope.running.threads.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `f` is used up, and its result gone or with its handle, before the count falls; and `scope` returns
        // only when it has, and so before 'scope ends.
        match unsafe { self.spawn_unchecked::<S, _, ()>(work, |_| ()) } {
            Ok(handle) => Ok(ScopedJoinHandle { thread: handle.thread().clone(), packet, scope: PhantomData }),
            Err(error) => {
                // Nobody waits yet: the scope is still being filled by who is told, or by another of its threads.
                scope.running.threads.fetch_sub(1, Ordering::Release);
                Err(error)
            }
        }
    }
}

impl<S: System, T> ScopedJoinHandle<'_, S, T> {
    /// The thread.
    pub fn thread(&self) -> &ThreadHandle<S> {
        &self.thread
    }

    /// Says whether the thread has left its result.
    pub fn is_finished(&self) -> bool {
        self.packet.is_left::<S>()
    }

    /// Waits until the thread has left its result, and returns that.
    ///
    /// # Errors
    ///
    /// Never: a panic ends the whole run. The type is std's, so that `join().unwrap()` means the same.
    pub fn join(self) -> Result<T> {
        Ok(self.packet.take::<S>())
    }

    /// Waits like [`ScopedJoinHandle::join`], for `timeout` at most. std has no such function.
    ///
    /// # Errors
    ///
    /// The time is up: the handle is given back.
    pub fn join_timeout(self, timeout: Duration) -> core::result::Result<T, Self> {
        self.packet.take_until::<S>(time::after::<S>(timeout)).ok_or(self)
    }
}

impl<S> fmt::Debug for Scope<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("threads", &self.running.threads).finish_non_exhaustive()
    }
}

impl<S, T> fmt::Debug for ScopedJoinHandle<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
