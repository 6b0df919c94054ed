//! Threads that run in user mode: sandboxes of the same image.
//!
//! [`spawn`] runs a function of the image in user mode (CPL 3, EL0), with a stack and a heap of its own there, and with plain data
//! ([`UserData`]) copied in and out. What runs there may use `core`, and `alloc` on its own heap; it writes by this module's
//! [`println!`](crate::user::println), and a panic ends that thread alone, as does whatever user mode must not do: touching a
//! static that can be written, the kernel's heap or per-CPU data, or executing a privileged instruction. Who joins it gets
//! [`Ended`] then; the kernel and all other threads go on.
//!
//! The functions of this module are for both sides where their pages say so, else for user mode alone: called by a thread of the
//! kernel they panic. Nothing else of this crate may be used in user mode.
//!
//! ```ignore
//! fn fathoms(depths: [u32; 3]) -> u32 {
//!     ebbtide::user::println!("sounding in user mode");
//!     depths.iter().sum()
//! }
//!
//! assert_eq!(ebbtide::user::spawn(fathoms, [3, 1, 2]).join(), Ok(6));
//! ```

use core::time::Duration;

use ebbtide_core::user::{self, runtime};

pub use ebbtide_core::user::{
    Call, DEFAULT_STACK_BYTES, Ended, Error, MOST_STACK_BYTES, Reason, SpawnError, UserData, WINDOW_BYTES,
};

use crate::system::Ebbtide;
use crate::thread::{CpuSet, NoSuchCpu, Priority};

#[doc(inline)]
pub use crate::__user_print_macro as print;
#[doc(inline)]
pub use crate::__user_println_macro as println;

/// The right to wait for the end of a thread of user mode. If it is dropped, the thread goes on by itself.
pub type JoinHandle<R> = user::JoinHandle<Ebbtide, R>;

/// Chooses what a thread of user mode is spawned with.
#[derive(Debug, Default)]
#[must_use = "it does nothing until `spawn`"]
pub struct Builder(user::Builder);

impl Builder {
    /// Starts with the defaults of [`thread::Builder`](crate::thread::Builder), and [`DEFAULT_STACK_BYTES`] of stack in user mode.
    pub const fn new() -> Self {
        Self(user::Builder::new())
    }

    /// Names the thread, for reports.
    pub fn name(self, name: alloc::string::String) -> Self {
        Self(self.0.name(name))
    }

    /// Asks for at least `bytes` of stack in user mode, [`MOST_STACK_BYTES`] at most.
    pub fn user_stack_size(self, bytes: usize) -> Self {
        Self(self.0.user_stack_size(bytes))
    }

    /// Asks for at least `bytes` of stack in the kernel, as [`thread::Builder`](crate::thread::Builder) does.
    pub fn stack_size(self, bytes: usize) -> Self {
        Self(self.0.stack_size(bytes))
    }

    /// Binds the thread to these CPUs, and with it those that it spawns.
    ///
    /// # Errors
    ///
    /// None of them runs.
    pub fn affinity(self, cpus: CpuSet) -> Result<Self, NoSuchCpu> {
        self.0.affinity::<Ebbtide>(cpus).map(Self)
    }

    /// Chooses the priority.
    pub fn priority(self, priority: Priority) -> Self {
        Self(self.0.priority(priority))
    }

    /// Spawns a thread that runs `function` in user mode, on a copy of `argument`. For threads of the kernel.
    ///
    /// # Errors
    ///
    /// There is no memory, or argument, result or stack are too large.
    pub fn spawn<A: UserData, R: UserData>(
        self,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<JoinHandle<R>, SpawnError> {
        self.0.spawn::<Ebbtide, A, R>(function, argument)
    }
}

/// Spawns a thread that runs `function` in user mode, on a copy of `argument`. For threads of the kernel; in user mode there is
/// [`spawn_child`].
///
/// # Panics
///
/// It could not be spawned; [`Builder::spawn`] returns that as an error.
pub fn spawn<A: UserData, R: UserData>(function: fn(A) -> R, argument: A) -> JoinHandle<R> {
    match Builder::new().spawn(function, argument) {
        Ok(handle) => handle,
        Err(error) => panic!("failed to spawn a thread in user mode: {error}"),
    }
}

/// A thread that user mode has spawned.
pub type Child<R> = runtime::Child<Ebbtide, R>;

/// Spawns another thread, from user mode.
///
/// # Errors
///
/// There is no memory, or argument or result are too large.
pub fn spawn_child<A: UserData, R: UserData>(function: fn(A) -> R, argument: A) -> Result<Child<R>, Error> {
    runtime::spawn::<Ebbtide, A, R>(function, argument)
}

/// Says whether the caller runs in user mode. For both sides.
#[must_use]
pub fn is_user_mode() -> bool {
    user::is_user_mode::<Ebbtide>()
}

/// A system call by its number, with any arguments: what others are made of. It returns what the kernel answers; and what the
/// kernel does is up to the caller.
///
/// # Errors
///
/// What the kernel says.
pub fn raw_call(number: u64, arguments: [u64; 5]) -> Result<u64, Error> {
    runtime::raw_call::<Ebbtide>(number, arguments)
}

/// A system call that does nothing.
pub fn null_call() {
    let _ = runtime::call::<Ebbtide>(Call::Null, [0; 5]);
}

/// Gives way to a thread of the same or a higher priority, if one is ready.
pub fn yield_now() {
    let _ = runtime::call::<Ebbtide>(Call::Yield, [0; 5]);
}

/// Waits for at least `duration`.
pub fn sleep(duration: Duration) {
    let _ = runtime::call::<Ebbtide>(Call::Sleep, [nanoseconds(duration), 0, 0, 0, 0]);
}

/// The time since boot.
#[must_use]
pub fn uptime() -> Duration {
    Duration::from_nanos(runtime::call::<Ebbtide>(Call::Clock, [0; 5]).unwrap_or(0))
}

/// The thread's number.
#[must_use]
pub fn id() -> u64 {
    runtime::call::<Ebbtide>(Call::Id, [0; 5]).unwrap_or(0)
}

/// Waits while `word` has the value `expected`, until it is woken by [`futex_wake`], for `timeout` at most. It may be woken
/// though nobody has changed the word.
///
/// # Errors
///
/// [`Error::Changed`]: the word has another value. [`Error::TimedOut`].
pub fn futex_wait(word: &core::sync::atomic::AtomicU32, expected: u32, timeout: Option<Duration>) -> Result<(), Error> {
    let timeout = timeout.map_or(u64::MAX, nanoseconds);
    let address = core::ptr::from_ref(word).addr() as u64;
    runtime::call::<Ebbtide>(Call::FutexWait, [address, expected.into(), timeout, 0, 0]).map(|_| ())
}

/// Wakes up to `most` of the threads that wait for `word`; returns how many.
pub fn futex_wake(word: &core::sync::atomic::AtomicU32, most: u64) -> u64 {
    let address = core::ptr::from_ref(word).addr() as u64;
    runtime::call::<Ebbtide>(Call::FutexWake, [address, most, 0, 0, 0]).unwrap_or(0)
}

/// Waits until this thread is unparked, for `timeout` at most; returns at once if it was since the last time.
pub fn park(timeout: Option<Duration>) {
    let _ = runtime::call::<Ebbtide>(Call::Park, [timeout.map_or(u64::MAX, nanoseconds), 0, 0, 0, 0]);
}

/// Makes the current or next [`park`] of the thread of user mode with this number return.
///
/// # Errors
///
/// [`Error::NoSuchThread`]: there is none.
pub fn unpark(number: u64) -> Result<(), Error> {
    runtime::call::<Ebbtide>(Call::Unpark, [number, 0, 0, 0, 0]).map(|_| ())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes to the console, from user mode.
#[doc(hidden)]
#[macro_export]
macro_rules! __user_print_macro {
    ($($argument:tt)*) => { $crate::user::__print(format_args!($($argument)*)) };
}

/// Writes a line to the console, from user mode.
#[doc(hidden)]
#[macro_export]
macro_rules! __user_println_macro {
    () => { $crate::user::__print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::user::__print(format_args!("{}\n", format_args!($($argument)*))) };
}

#[doc(hidden)]
pub fn __print(arguments: core::fmt::Arguments<'_>) {
    runtime::print::<Ebbtide>(arguments);
}
