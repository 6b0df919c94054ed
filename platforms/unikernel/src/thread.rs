//! Threads: std's `thread`.
//!
//! Each has a kernel stack of 16 KiB with guard pages below it, unless its [`Builder`] asks for another size; how that
//! stack is populated is the stack policy's choice. Who touches the guard ends the run with a report.
//!
//! Threads run on all CPUs, unless they are bound to some ([`Builder::affinity`], [`set_affinity`]). One that becomes ready
//! goes to a CPU that has nothing to do, else it runs where it was made ready; priorities hold among the threads of a CPU.
//!
//! Threads are preemptive: one runs until it waits, until its time slice of 10 ms is over while another of its priority
//! is ready, or until one of a higher priority becomes ready.
//!
//! A panic in any thread ends the run, so `join` always returns `Ok`, and there is no `panicking`. When `main` returns,
//! the run ends, and other threads with it.
//!
//! A thread's own values ([`thread_local!`](crate::thread_local)) are dropped in it when its closure has returned, and
//! before who joins it goes on. The main thread's are not: its end is the run's.

use core::num::NonZero;
use core::time::Duration;

use ebbtide_core::{System as _, secondary, thread};

pub use ebbtide_core::stack::StackError;
pub use ebbtide_core::thread::{AccessError, CpuSet, DEFAULT_STACK_BYTES, NoSuchCpu, Priority, Result, ThreadId};

use crate::system::Ebbtide;
use crate::time::Instant;

/// A thread, to name it and to unpark it.
pub type Thread = thread::ThreadHandle<Ebbtide>;

/// The right to wait for a thread's end. If it is dropped, the thread goes on by itself.
pub type JoinHandle<T> = thread::JoinHandle<Ebbtide, T>;

/// Where threads can be spawned that borrow from their spawner; [`scope`] makes it.
pub type Scope<'scope, 'env> = thread::Scope<'scope, 'env, Ebbtide>;

/// The right to wait for a scoped thread's end. The scope waits also for threads whose handle was dropped.
pub type ScopedJoinHandle<'scope, T> = thread::ScopedJoinHandle<'scope, Ebbtide, T>;

/// Names a value that each thread has for itself; [`thread_local!`](crate::thread_local) makes it.
pub type LocalKey<T> = thread::LocalKey<Ebbtide, T>;

/// Chooses what a thread is spawned with: name, stack, priority.
#[derive(Debug, Default)]
#[must_use = "it does nothing until `spawn`"]
pub struct Builder(thread::Builder);

impl Builder {
    /// Starts with the defaults: no name; 16 KiB of stack, left to the policy; normal priority; the CPUs of the
    /// thread that spawns it.
    pub const fn new() -> Self {
        Self(thread::Builder::new())
    }

    /// Names the thread, for reports.
    pub fn name(self, name: alloc::string::String) -> Self {
        Self(self.0.name(name))
    }

    /// Asks for at least `bytes` of stack: 8 KiB to 1 MiB, rounded up to a power of two. A stack above 64 KiB is
    /// always populated.
    pub fn stack_size(self, bytes: usize) -> Self {
        Self(self.0.stack_size(bytes))
    }

    /// Asks for a stack that is always populated, whatever the policy.
    pub fn always_populated(self) -> Self {
        Self(self.0.always_populated())
    }

    /// Binds the thread to these CPUs, and with it those that it spawns.
    ///
    /// # Errors
    ///
    /// None of them runs.
    pub fn affinity(self, cpus: CpuSet) -> core::result::Result<Self, NoSuchCpu> {
        self.0.affinity::<Ebbtide>(cpus).map(Self)
    }

    /// Chooses the priority, up to [`Priority::MAX`]: a thread runs only while none of a higher one is ready.
    pub fn priority(self, priority: Priority) -> Self {
        Self(self.0.priority(priority))
    }

    /// Spawns a thread that runs `f`.
    ///
    /// # Errors
    ///
    /// There is no memory for its stack, or no stack is that large.
    pub fn spawn<F, T>(self, f: F) -> core::result::Result<JoinHandle<T>, StackError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn::<Ebbtide, F, T>(f)
    }

    /// Spawns a thread that runs `f`, which may borrow what outlives the scope.
    ///
    /// # Errors
    ///
    /// There is no memory for its stack, or no stack is that large.
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> core::result::Result<ScopedJoinHandle<'scope, T>, StackError>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.0.spawn_scoped::<Ebbtide, F, T>(scope, f)
    }
}

/// Spawns a thread that runs `f`, with the defaults of [`Builder`].
///
/// # Panics
///
/// There is no memory for its stack; [`Builder::spawn`] returns that as an error.
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Builder::new().spawn(f) {
        Ok(handle) => handle,
        Err(error) => panic!("failed to spawn a thread: {error}"),
    }
}

/// The running thread.
pub fn current() -> Thread {
    thread::current::<Ebbtide>()
}

/// Gives way to a thread of the same or a higher priority, if one is ready.
pub fn yield_now() {
    thread::yield_now::<Ebbtide>();
}

/// Waits for at least `duration`. The CPU is free for others meanwhile, and the stack can ebb.
pub fn sleep(duration: Duration) {
    thread::sleep::<Ebbtide>(duration);
}

/// Waits until `deadline`, if that has not come yet.
pub fn sleep_until(deadline: Instant) {
    thread::sleep_until::<Ebbtide>(deadline);
}

/// Waits until this thread is unparked by [`Thread::unpark`](ebbtide_core::thread::ThreadHandle::unpark); returns at
/// once if it was since the last time. Never returns without that.
pub fn park() {
    thread::park::<Ebbtide>();
}

/// Waits like [`park`], for `timeout` at most.
pub fn park_timeout(timeout: Duration) {
    thread::park_timeout::<Ebbtide>(timeout);
}

/// The CPUs that run threads: how many threads run at the same time.
///
/// # Errors
///
/// Never: the kernel knows. The type is std's, so that `available_parallelism().unwrap()` means the same.
pub fn available_parallelism() -> Result<NonZero<usize>> {
    Ok(NonZero::new(Ebbtide::kernel().cpus().count()).expect("who asks runs on a CPU"))
}

/// Starts the CPUs that have not been: with `ebbtide.maxcpus=N` on the kernel's command line, only so many run when `main` begins.
/// One that cannot be used is reported on the console and left out. Returns how many run now.
pub fn start_other_cpus() -> usize {
    secondary::start_the_others::<Ebbtide>();
    Ebbtide::kernel().cpus().count()
}

/// The CPU that the running thread is on; it may be on another one by the time the answer is looked at, unless it is bound.
pub fn current_cpu() -> u32 {
    thread::current_cpu::<Ebbtide>()
}

/// The CPUs that the running thread may run on.
pub fn affinity() -> CpuSet {
    thread::affinity::<Ebbtide>()
}

/// Binds the running thread to these CPUs: when this returns it runs on one of them.
///
/// # Errors
///
/// None of them runs; nothing has changed then.
pub fn set_affinity(cpus: CpuSet) -> core::result::Result<(), NoSuchCpu> {
    thread::set_affinity::<Ebbtide>(cpus)
}

/// Runs `f`, which may spawn threads that borrow what outlives the scope, such as the spawner's local variables, and
/// waits for all of them.
///
/// ```ignore
/// let mut depths = [3, 1, 2];
/// thread::scope(|scope| {
///     for depth in &mut depths {
///         scope.spawn(move || *depth *= 10);
///     }
/// });
/// assert_eq!(depths, [30, 10, 20]);
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    thread::scope::<Ebbtide, F, T>(f)
}
