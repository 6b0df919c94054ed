//! Floating-point and SIMD registers of threads in user mode.
//!
//! ```text
//! closed   in the kernel, and in user mode until the thread touches one: that traps, and the thread has them from then on
//! open     in user mode, and while a trap is handled that came there and does not switch
//! ```
//!
//! The kernel is compiled without such registers. So they are stored where a thread that has some may leave its CPU: before a system
//! call, and before a trap goes on to the thread's stack; they are loaded when that is over. No switch looks at them, a thread
//! without pays a look where it is preempted, and no CPU holds what another one needs.
//!
//! Who stores also closes: what is left in the CPU is out of reach until another thread loads its own over it, all of them at once. So
//! nothing is cleared. A CPU that speculates past the trap may still give it away (LazyFP, CVE-2018-3665).
#![expect(unsafe_code, reason = "stores and loads registers")]

use crate::arch::{Answer, UserContext, UserMode};

/// The thread of this context has touched such a register in user mode. Returns whether it was the first time: then it has them now, and
/// the instruction can be tried again.
///
/// # Safety
///
/// It is the running thread, which trapped in user mode and goes back there. Interrupts are off until then.
pub unsafe fn first_use<A: UserMode>(context: &UserContext) -> bool {
    let is_first = !context.has_float.replace(true);
    if is_first {
        context.entry.set(call::<A>);
        A::init_float(&context.float);
        // SAFETY: the caller's promise, and it was made right here.
        unsafe { A::load_float(&context.float) };
    }
    is_first
}

/// Stores and closes the registers of the running thread, which comes from user mode, if it has any. Returns whether it has: then
/// [`load`] follows before it goes back.
///
/// # Safety
///
/// Nothing has switched since the thread came from there, nor stored its registers. Interrupts are off.
pub unsafe fn store<A: UserMode>(context: &UserContext) -> bool {
    let has = context.has_float.get();
    if has {
        // SAFETY: a thread that has them has them open in user mode.
        unsafe { A::store_float(&context.float) };
    }
    has
}

/// Loads what was stored, on whichever CPU this is.
///
/// # Safety
///
/// [`store`] has returned true for the running thread, which goes to user mode. Interrupts are off until then.
pub unsafe fn load<A: UserMode>(context: &UserContext) {
    // SAFETY: the caller's promise.
    unsafe { A::load_float(&context.float) };
}

/// A system call of a thread that has such registers.
extern "C" fn call<A: UserMode>(a: u64, b: u64, c: u64, d: u64, e: u64, number: u64) -> Answer {
    // SAFETY: a system call.
    let context = unsafe { UserContext::running::<A>() };
    // SAFETY: the entry code calls this before anything else, with interrupts off.
    unsafe { store::<A>(context) };
    let answer = (context.call)(a, b, c, d, e, number);
    // SAFETY: only a thread that has such registers comes here; the call has returned with interrupts off.
    unsafe { load::<A>(context) };
    answer
}
