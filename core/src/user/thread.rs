//! Threads of user mode begin and end: the kernel's side.
//!
//! Each is a thread of the kernel, whose work is to go to user mode and to wait there for the end. So stack policy, scheduler and
//! joins are those of all threads.
#![expect(unsafe_code, reason = "goes to user mode, and finds what the kernel keeps of a thread there")]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::from_ref;
use core::sync::atomic::{AtomicU64, Ordering};

use memory_addresses::VirtAddr;

use crate::arch::{Cpu, FloatState, UserContext, UserMode, UserStart};
use crate::audit;
use crate::backtrace::Backtrace;
use crate::console;
use crate::cpu;
use crate::memory::layout;
use crate::report::Place;
use crate::stack::StackError;
use crate::sync::SpinLock;
use crate::system::System;
use crate::thread::{self, CpuSet, NoSuchCpu, Priority, Thread, ThreadHandle, border};
use crate::user::heap::HEADER_BYTES;
use crate::user::region::Region;
use crate::user::{DEFAULT_STACK_BYTES, Error, MOST_STACK_BYTES, UserData, calls, pointer, runtime, view};

/// Most bytes that an argument or a result may have.
pub(super) const MOST_DATA_BYTES: usize = 4 << 10;

/// Most threads that a thread of user mode spawns and has not joined.
const MOST_CHILDREN: usize = 1024;

/// Why a thread in user mode was not spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// There is no memory for its stack in the kernel.
    Stack(StackError),
    /// There is no memory for its stack in user mode, or for the user's view.
    NoMemory,
    /// Its argument or its result has more bytes than can be copied, or its stack in user mode would be larger than there is
    /// room for.
    TooLarge,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack(error) => error.fmt(f),
            Self::NoMemory => f.write_str("there is no memory for a thread in user mode"),
            Self::TooLarge => write!(
                f,
                "argument and result of a thread in user mode have at most {MOST_DATA_BYTES} bytes each, and its stack there \
                 {MOST_STACK_BYTES}"
            ),
        }
    }
}

impl core::error::Error for SpawnError {}

/// A thread of user mode has ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// The panic's message, or what the thread did.
    pub message: String,
}

/// Why a thread of user mode has ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It panicked.
    Panic,
    /// It did what user mode must not do.
    Fault,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Panic => write!(f, "it panicked: {}", self.message),
            Reason::Fault => f.write_str(&self.message),
        }
    }
}

impl core::error::Error for Ended {}

/// What the kernel keeps of a thread of user mode. Only the thread itself touches it.
#[repr(C)]
pub(super) struct UserThread<S: System> {
    /// First, so that a pointer to it is one to this.
    context: UserContext,
    pub region: Region<S>,
    result: u64,
    result_bytes: usize,
    end: Cell<Option<Result<Vec<u8>, Ended>>>,
    children: RefCell<Vec<Option<RawHandle<S>>>>,
}

/// A thread whose result is bytes.
type RawHandle<S> = thread::JoinHandle<S, Result<Vec<u8>, Ended>>;

/// What a thread is to do in user mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// The first instruction: [`runtime::begin`], if it means well.
    pub begin: u64,
    /// What that takes first.
    pub function: u64,
    /// Bytes of the result.
    pub result_bytes: usize,
}

/// The threads of user mode that live, by their numbers.
static LIVING: SpinLock<BTreeMap<u64, Arc<Thread>>> = SpinLock::new(BTreeMap::new());

impl<S: System> UserThread<S>
where
    S::Arch: UserMode,
{
    /// Makes what a thread needs in user mode, with its argument in place, and says where it begins.
    fn new(task: Task, argument: &[u8], stack_bytes: u64) -> Result<(Box<Self>, UserStart), SpawnError> {
        let too_large = argument.len() > MOST_DATA_BYTES || task.result_bytes > MOST_DATA_BYTES;
        if too_large || stack_bytes > MOST_STACK_BYTES {
            return Err(SpawnError::TooLarge);
        }
        view::make::<S>().map_err(|_| SpawnError::NoMemory)?;
        let above = HEADER_BYTES + 2 * MOST_DATA_BYTES as u64;
        let region = Region::<S>::new(stack_bytes + above).map_err(|_| SpawnError::NoMemory)?;
        let result = region.stack().end - above;
        let argument_at = result + MOST_DATA_BYTES as u64;
        pointer::write::<S>(argument_at, argument).map_err(|_| SpawnError::NoMemory)?;
        let start = UserStart {
            instruction: task.begin,
            // As a call would leave it: the architecture's own part of that is its own.
            stack_pointer: result,
            arguments: [task.function, argument_at, result],
        };
        let context = UserContext {
            stack_pointer: AtomicU64::new(0),
            entry: Cell::new(calls::call::<S>),
            call: calls::call::<S>,
            fault: fault::<S>,
            has_float: Cell::new(false),
            float: FloatState::new(),
        };
        let this = Self {
            context,
            region,
            result,
            result_bytes: task.result_bytes,
            end: Cell::new(None),
            children: RefCell::new(Vec::new()),
        };
        Ok((Box::new(this), start))
    }

    /// Runs in user mode to the end.
    fn run(&self, start: UserStart) -> Result<Vec<u8>, Ended> {
        let me = cpu::current::<S>();
        me.head().user.store(from_ref(&self.context).cast_mut(), Ordering::Relaxed);
        audit::begins::<S>(|| audit::Way::User(start.arguments[0]));
        cpu::mask_interrupts::<S>();
        border::leave::<S>(S::Arch::frame_pointer());
        audit::interrupts_on::<S>();
        // SAFETY: the pointer was set right here, and the views by `new`.
        unsafe { S::Arch::run_user(&self.context, &start) };
        me.head().user.store(core::ptr::null_mut(), Ordering::Relaxed);
        drop(LIVING.with::<S, _>(|living| living.remove(&me.id().0)));
        self.end.take().unwrap_or_else(|| unreachable!("user mode was left without an end"))
    }

    /// The running thread, which is in user mode or in a system call.
    pub fn current() -> &'static Self {
        let context = cpu::current::<S>().head().user.load(Ordering::Relaxed);
        // SAFETY: `run` set it, to the first field of one of these, which stays until user mode is left.
        unsafe { &*context.cast::<Self>() }
    }

    /// Ends the thread, with its result.
    pub fn exit(&self) -> ! {
        let mut result = alloc::vec![0; self.result_bytes];
        let read = pointer::read::<S>(self.result, &mut result);
        debug_assert!(read.is_ok(), "the stack of user mode stays mapped");
        self.leave(Ok(result))
    }

    /// Ends the thread, without a result.
    pub fn end(&self, reason: Reason, message: String) -> ! {
        self.leave(Err(Ended { reason, message }))
    }

    fn leave(&self, end: Result<Vec<u8>, Ended>) -> ! {
        self.end.set(Some(end));
        // SAFETY: the thread runs in `run`. Nothing that is dropped lies between: the callers keep nothing.
        unsafe { S::Arch::leave_user(&self.context) }
    }

    /// Spawns another one, for a thread of user mode.
    pub fn spawn(&self, task: Task, argument: &[u8]) -> Result<u64, Error> {
        let mut children = self.children.borrow_mut();
        let free = children.iter().position(Option::is_none);
        if free.is_none() && children.len() >= MOST_CHILDREN {
            return Err(Error::NoMemory);
        }
        let child = Builder::new().spawn_raw::<S>(task, argument).map_err(|error| match error {
            SpawnError::TooLarge => Error::BadArgument,
            SpawnError::Stack(_) | SpawnError::NoMemory => Error::NoMemory,
        })?;
        let handle = free.unwrap_or(children.len());
        match free {
            Some(free) => children[free] = Some(child),
            None => children.push(Some(child)),
        }
        Ok(handle as u64)
    }

    /// Waits for the end of one that this one has spawned; its result.
    pub fn join(&self, handle: u64) -> Result<Vec<u8>, Error> {
        let child = usize::try_from(handle).ok().and_then(|at| self.children.borrow_mut().get_mut(at)?.take());
        match child.ok_or(Error::NoSuchThread)?.join() {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Error::Ended),
        }
    }

    /// The number of one that this one has spawned and not joined.
    pub fn number_of(&self, handle: u64) -> Result<u64, Error> {
        let children = self.children.borrow();
        let child = usize::try_from(handle).ok().and_then(|at| children.get(at)?.as_ref());
        child.map(|child| child.thread().id().0).ok_or(Error::NoSuchThread)
    }
}

/// The living thread of user mode that has this number.
pub(super) fn living<S: System>(number: u64) -> Option<ThreadHandle<S>> {
    LIVING.with::<S, _>(|living| living.get(&number).map(Arc::clone)).map(ThreadHandle::new)
}

/// The running thread has done what user mode must not do. Interrupts are off.
fn fault<S: System>(what: &dyn fmt::Display, at: &Place) -> !
where
    S::Arch: UserMode,
{
    audit::interrupts_off::<S>();
    border::enter::<S>();
    cpu::unmask_interrupts::<S>();
    report_fault::<S>(what, at)
}

/// Ends the thread, with a report. Not a part of `fault`, which must do with the top page of the stack.
#[inline(never)]
fn report_fault<S: System>(what: &dyn fmt::Display, at: &Place) -> !
where
    S::Arch: UserMode,
{
    let me = UserThread::<S>::current();
    let message = if me.region.is_guard(at.address) {
        alloc::format!("stack overflow in user mode: {what}")
    } else {
        alloc::format!("{what}")
    };
    let region = layout::name(at.address).unwrap_or_default();
    console::print::<S>(format_args!(
        "ebbtide: {} ended: {message}\n  at {:#x}, stack pointer {:#x}, touched {:#x}{}{}\n{}",
        cpu::current::<S>(),
        at.instruction,
        at.stack_pointer,
        at.address,
        if region.is_empty() { "" } else { ": " },
        region,
        Backtrace::<S>::from_user_mode(at.instruction, at.frame_pointer, read_frame::<S>),
    ));
    me.end(Reason::Fault, message)
}

/// Reads a frame on a stack of user mode.
fn read_frame<S: System>(frame: VirtAddr) -> Option<[u64; 2]>
where
    S::Arch: UserMode,
{
    pointer::read_value::<S, _>(frame.as_u64()).ok()
}

/// Chooses what a thread of user mode is spawned with.
#[derive(Debug, Default)]
#[must_use = "it does nothing until `spawn`"]
pub struct Builder {
    kernel: thread::Builder,
    stack_bytes: Option<u64>,
}

impl Builder {
    /// Starts with the defaults: those of [`thread::Builder`], and [`DEFAULT_STACK_BYTES`] of stack in user mode.
    pub const fn new() -> Self {
        Self { kernel: thread::Builder::new(), stack_bytes: None }
    }

    /// Names the thread, for reports.
    pub fn name(self, name: String) -> Self {
        Self { kernel: self.kernel.name(name), ..self }
    }

    /// Asks for at least `bytes` of stack in user mode, at most 1 MiB.
    pub const fn user_stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes as u64);
        self
    }

    /// Asks for at least `bytes` of stack in the kernel, as [`thread::Builder::stack_size`].
    pub fn stack_size(self, bytes: usize) -> Self {
        Self { kernel: self.kernel.stack_size(bytes), ..self }
    }

    /// Chooses the priority.
    pub fn priority(self, priority: Priority) -> Self {
        Self { kernel: self.kernel.priority(priority), ..self }
    }

    /// Binds the thread to these CPUs, and with it those that it spawns.
    ///
    /// # Errors
    ///
    /// None of them runs.
    pub fn affinity<S: System>(self, cpus: CpuSet) -> Result<Self, NoSuchCpu> {
        Ok(Self { kernel: self.kernel.affinity::<S>(cpus)?, ..self })
    }

    /// Spawns a thread that runs `function` in user mode, on `argument`.
    ///
    /// # Errors
    ///
    /// There is no memory, or argument, result or stack are too large.
    pub fn spawn<S, A, R>(self, function: fn(A) -> R, argument: A) -> Result<JoinHandle<S, R>, SpawnError>
    where
        S: System,
        S::Arch: UserMode,
        A: UserData,
        R: UserData,
    {
        let task = Task {
            begin: runtime::begin::<S, A, R> as *const () as usize as u64,
            function: function as usize as u64,
            result_bytes: size_of::<R>(),
        };
        let raw = self.spawn_raw::<S>(task, bytes_of(&argument))?;
        Ok(JoinHandle { raw, result: PhantomData })
    }

    fn spawn_raw<S: System>(self, task: Task, argument: &[u8]) -> Result<RawHandle<S>, SpawnError>
    where
        S::Arch: UserMode,
    {
        let stack_bytes = self.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES);
        let (thread, start) = UserThread::<S>::new(task, argument, stack_bytes)?;
        let thread = Sendable(thread);
        let note = |thread: &Arc<Thread>| {
            LIVING.with::<S, _>(|living| living.insert(thread.id().0, Arc::clone(thread)));
        };
        self.kernel.spawn_for_user_mode(move || thread.into_inner().run(start), note).map_err(SpawnError::Stack)
    }
}

/// What is given to the thread that it belongs to, and touched by nobody else.
struct Sendable<T>(T);

// SAFETY: it is moved to the thread once, before that runs.
unsafe impl<T> Send for Sendable<T> {}

impl<T> Sendable<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

/// The bytes of plain data.
pub(super) fn bytes_of<T: UserData>(value: &T) -> &[u8] {
    // SAFETY: it has no padding, so all of its bytes are there.
    unsafe { core::slice::from_raw_parts(from_ref(value).cast(), size_of::<T>()) }
}

/// Plain data of these bytes.
pub(super) fn value_of<T: UserData>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as many bytes as it has.
    unsafe { value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    // SAFETY: any bytes are a value.
    Some(unsafe { value.assume_init() })
}

/// The right to wait for the end of a thread of user mode. If it is dropped, the thread goes on by itself.
pub struct JoinHandle<S, R> {
    raw: thread::JoinHandle<S, Result<Vec<u8>, Ended>>,
    result: PhantomData<fn() -> R>,
}

impl<S: System, R: UserData> JoinHandle<S, R> {
    /// The thread.
    pub fn thread(&self) -> &ThreadHandle<S> {
        self.raw.thread()
    }

    /// Says whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.raw.is_finished()
    }

    /// Waits until the thread has ended, and returns its result.
    ///
    /// # Errors
    ///
    /// It panicked, or did what user mode must not do.
    pub fn join(self) -> Result<R, Ended> {
        let Ok(end) = self.raw.join();
        end.map(|bytes| value_of(&bytes).unwrap_or_else(|| unreachable!("a result has the bytes of its type")))
    }
}

impl<S, R> fmt::Debug for JoinHandle<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}
