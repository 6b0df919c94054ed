//! Threads that run in user mode, as sandboxes of the same image.
//!
//! Such a thread runs the image's own code, at the same addresses, with a stack and a heap of its own, and enters the kernel by
//! system calls. It sees the image's text and what the image only reads, and the memory of user mode; everything else of the
//! kernel's ends it, with a report, and nobody but it.
//!
//! - kernel side: `view` (the second root table), `region` (a thread's memory), `thread` (begin and end), `calls` (system calls),
//!   `pointer` (what user mode points to), `futex`, `float` (floating-point registers);
//! - user side, which runs in user mode: `runtime` (calls, output, panics) and `heap`;
//! - both: `abi`.
//!
//! None of it is in an image that spawns no such thread.

mod abi;
mod calls;
pub mod float;
mod futex;
mod heap;
mod pointer;
mod region;
pub mod runtime;
mod thread;
mod view;

use memory_addresses::VirtAddr;

use crate::arch::Cpu;
use crate::memory::layout;
use crate::system::System;

pub use abi::{Call, Error};
pub(crate) use heap::heap_calls;
pub use region::{DEFAULT_STACK_BYTES, MOST_STACK_BYTES, WINDOW_BYTES};
pub use thread::{Builder, Ended, JoinHandle, Reason, SpawnError};

/// Plain data: what can be given to a thread in user mode, and what it can return.
///
/// It is copied byte by byte from one side to the other, and what comes back may be anything that the other side wrote.
///
/// # Safety
///
/// Any bytes of its size are a value, and it has no padding. It means nothing outside of itself: no pointer, no reference.
#[expect(unsafe_code, reason = "a promise about bytes")]
pub unsafe trait UserData: Copy + 'static {}

macro_rules! plain {
    ($($kind:ty),*) => {
        $(
            // SAFETY: any bytes are a value, there is no padding, and it is a number.
            #[expect(unsafe_code, reason = "a promise about bytes")]
            unsafe impl UserData for $kind {}
        )*
    };
}

plain!((), u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);

// SAFETY: an array has no padding that its elements do not have.
#[expect(unsafe_code, reason = "a promise about bytes")]
unsafe impl<T: UserData, const N: usize> UserData for [T; N] {}

/// Says whether the caller runs in user mode: by its frame pointer, which then lies in the memory of user mode. Both sides may
/// ask.
#[inline(always)]
pub fn is_user_mode<S: System>() -> bool {
    layout::is_user(S::Arch::frame_pointer())
}

/// The end of the window that an address of user mode lies in.
fn window_end(address: VirtAddr) -> u64 {
    (address.as_u64() | (WINDOW_BYTES - 1)) + 1
}
