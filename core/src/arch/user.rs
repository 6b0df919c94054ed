//! The contract of user mode: the way there and back, and what the entries from there need to know.
//!
//! Floating-point and SIMD registers are user mode's alone: the kernel is compiled without. [`crate::user::float`] says when which
//! thread's are in the CPU, an architecture how they get there.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{Arch, Cpu};
use crate::report::Place;

/// What the kernel keeps of a thread that runs in user mode, and what the entries from user mode need to know of it.
///
/// [`Head::user`](crate::thread::Head::user) names it.
#[derive(Debug)]
#[repr(C)]
pub struct UserContext {
    /// Where an entry from user mode begins on the thread's kernel stack: [`UserMode::run_user`] leaves it there, and
    /// [`UserMode::leave_user`] goes back to it.
    pub stack_pointer: AtomicU64,
    /// What the entry of system calls calls, on that stack, with interrupts off, as it returns: `call`, or what keeps the thread's
    /// floating-point registers meanwhile.
    pub entry: Cell<SystemCall>,
    /// A system call.
    pub call: SystemCall,
    /// What a trap calls that user mode has caused and that nothing resumes from: on that stack, with interrupts off.
    pub fault: UserFault,
    /// Whether it has floating-point registers.
    pub has_float: Cell<bool>,
    /// These, while it is in the kernel.
    pub float: FloatState,
}

impl UserContext {
    /// That of the running thread.
    ///
    /// # Safety
    ///
    /// The thread is in user mode, or in a system call or a trap that came from there.
    pub unsafe fn running<A: Cpu>() -> &'static Self {
        let context = A::current().head().user.load(Ordering::Relaxed);
        // SAFETY: such a thread has one, until it leaves user mode for good.
        unsafe { &*context }
    }
}

/// Room for the floating-point and SIMD registers of a thread, as its architecture stores them.
#[repr(C, align(16))]
pub struct FloatState(UnsafeCell<[u8; FLOAT_STATE_BYTES]>);

/// As many bytes as any architecture needs for that.
pub const FLOAT_STATE_BYTES: usize = 528;

impl FloatState {
    /// Room that nobody has used.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; FLOAT_STATE_BYTES]))
    }

    /// Where it lies, aligned to 16 bytes. Only the thread itself goes there.
    pub const fn as_ptr<T>(&self) -> *mut T {
        assert!(size_of::<T>() <= FLOAT_STATE_BYTES && align_of::<T>() <= align_of::<Self>(), "it has room for that");
        self.0.get().cast()
    }

    /// What was stored, as the architecture stores it. Only the thread itself looks.
    pub fn to_bytes(&self) -> [u8; FLOAT_STATE_BYTES] {
        // SAFETY: by the rule above nobody stores meanwhile.
        unsafe { self.0.get().read() }
    }
}

impl Default for FloatState {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FloatState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FloatState")
    }
}

/// A system call: five arguments and its number.
pub type SystemCall = extern "C" fn(u64, u64, u64, u64, u64, number: u64) -> Answer;

/// What user mode must not do, and where it did so. Ends in [`UserMode::leave_user`].
pub type UserFault = fn(what: &dyn fmt::Display, at: &Place) -> !;

/// What a system call returns, in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// 0, or what went wrong.
    pub error: u64,
    /// What was asked for.
    pub value: u64,
}

/// Where user mode begins.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UserStart {
    /// The first instruction.
    pub instruction: u64,
    /// The stack pointer, as at the entry of a function.
    pub stack_pointer: u64,
    /// The function's arguments. All other registers are 0.
    pub arguments: [u64; 3],
}

/// Threads that run in user mode, and enter the kernel from there. No part of [`Arch`]: a machine that is only a model
/// needs none of it, and neither does an image without such threads.
///
/// There are two views of memory. In the kernel's, no page of the image is user mode's; in the user's, its text and what
/// it only reads are, and then the kernel can neither execute nor read these. Data of user mode is the same in both. The
/// first instructions of an entry from user mode load the kernel's view, and the last ones of an exit the user's.
///
/// # Safety
///
/// User mode gets at nothing but what the user's view grants it, whatever it does; and the kernel goes on with its own stack,
/// per-CPU data and view.
pub unsafe trait UserMode: Arch {
    /// The code of the entries and exits, whole pages: the kernel's in both views.
    fn entry_code() -> Range<VirtAddr>;

    /// Makes `kernel` and `user` the roots of the two views. Called once; nothing has run in user mode.
    ///
    /// # Safety
    ///
    /// Both map all of the kernel; `kernel` is the root that the CPUs have loaded.
    unsafe fn set_views(kernel: PhysAddr, user: PhysAddr);

    /// Runs user mode from `start` on, until [`UserMode::leave_user`] is called. Interrupts are off.
    ///
    /// # Safety
    ///
    /// The running thread's [`Head::user`](crate::thread::Head::user) names `context`; the views are set.
    unsafe fn run_user(context: &UserContext, start: &UserStart);

    /// Returns from [`UserMode::run_user`]. Nothing between the two is dropped. Interrupts stay as they are.
    ///
    /// # Safety
    ///
    /// As [`UserMode::run_user`]; called by the thread that it runs in.
    unsafe fn leave_user(context: &UserContext) -> !;

    /// Copies out of user mode's data. Returns whether all of it was there.
    ///
    /// # Safety
    ///
    /// `from..from + bytes` lies in the range of user mode; `to` can be written.
    unsafe fn copy_from_user(to: *mut u8, from: VirtAddr, bytes: usize) -> bool;

    /// Copies into user mode's data. Returns whether all of it was there.
    ///
    /// # Safety
    ///
    /// `to..to + bytes` lies in the range of user mode; `from` can be read.
    unsafe fn copy_to_user(to: VirtAddr, from: *const u8, bytes: usize) -> bool;

    /// Calls the kernel: the instruction. Executed in user mode.
    ///
    /// # Safety
    ///
    /// The caller is in user mode.
    unsafe fn call_kernel(number: u64, arguments: [u64; 5]) -> Answer;

    /// Makes `state` what a thread finds that has written no floating-point register.
    fn init_float(state: &FloatState);

    /// Stores the floating-point registers and closes them: whoever touches one from then on, the kernel included, traps.
    /// What stays in them nobody can read.
    ///
    /// # Safety
    ///
    /// They are open, they are those of the thread whose `state` this is, and interrupts are off.
    unsafe fn store_float(state: &FloatState);

    /// Opens the floating-point registers, and loads every one of them.
    ///
    /// # Safety
    ///
    /// `state` was stored or made by one of the two, and its thread goes to user mode with interrupts off until then.
    unsafe fn load_float(state: &FloatState);
}
