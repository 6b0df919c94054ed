//! What runs in user mode beside the app's own function: its first and last steps, system calls, output, panics.
//!
//! Nothing here touches a static that is written, or per-CPU data: in user mode there are none.
#![expect(unsafe_code, reason = "the first steps in user mode, and the instruction that calls the kernel")]

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::mem::{MaybeUninit, transmute};
use core::panic::PanicInfo;

use memory_addresses::VirtAddr;

use crate::arch::UserMode;
use crate::system::System;
use crate::user::{Call, Error, UserData, heap, is_user_mode};

/// Calls the kernel.
///
/// # Errors
///
/// What the kernel says.
///
/// # Panics
///
/// The caller does not run in user mode.
pub fn call<S: System>(call: Call, arguments: [u64; 5]) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    raw_call::<S>(call as u64, arguments)
}

/// Calls the kernel, by any number.
///
/// # Errors
///
/// What the kernel says.
///
/// # Panics
///
/// The caller does not run in user mode.
pub fn raw_call<S: System>(number: u64, arguments: [u64; 5]) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    assert!(is_user_mode::<S>(), "system calls are for user mode: this thread runs in the kernel");
    // SAFETY: the frame pointer lies in the memory of user mode, and no kernel code's does.
    let answer = unsafe { S::Arch::call_kernel(number, arguments) };
    if answer.error == 0 { Ok(answer.value) } else { Err(Error::from_number(answer.error)) }
}

/// The first function in user mode. Its arguments: the app's function, and where its argument and its result lie.
pub(super) extern "C" fn begin<S: System, A: UserData, R: UserData>(function: u64, argument: u64, result: u64) -> !
where
    S::Arch: UserMode,
{
    heap::begin::<S>();
    // SAFETY: who spawned the thread gave a function of this type, and text lies at the same addresses on both sides.
    let function = unsafe { transmute::<usize, fn(A) -> R>(function as usize) };
    // SAFETY: the kernel left it there, and any bytes are a value.
    let argument = unsafe { VirtAddr::new(argument).as_ptr::<A>().read_unaligned() };
    let value = function(argument);
    // SAFETY: there is room for it.
    unsafe { VirtAddr::new(result).as_mut_ptr::<R>().write_unaligned(value) };
    leave::<S>(Call::Exit, [0; 5])
}

/// Ends the thread.
fn leave<S: System>(how: Call, arguments: [u64; 5]) -> !
where
    S::Arch: UserMode,
{
    loop {
        // Neither call returns.
        let _ = call::<S>(how, arguments);
    }
}

/// Most bytes of a panic's message that reach the kernel.
pub(super) const MESSAGE_BYTES: usize = 256;

/// A panic in user mode ends the thread.
pub fn panic<S: System>(info: &PanicInfo<'_>) -> !
where
    S::Arch: UserMode,
{
    let mut message = Message { bytes: [0; MESSAGE_BYTES], len: 0 };
    let _ = match info.location() {
        Some(place) => write!(message, "{} at {place}", info.message()),
        None => write!(message, "{}", info.message()),
    };
    leave::<S>(Call::Panic, [message.bytes.as_ptr() as u64, message.len as u64, 0, 0, 0])
}

/// Text of which the end is cut off if it is too long.
struct Message {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MESSAGE_BYTES - self.len;
        let fits = (0..=text.len().min(room)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

/// Writes formatted text to the console: what `ebbtide::user::print!` is made of. Lines of up to 128 bytes come out in one piece.
pub fn print<S: System>(arguments: fmt::Arguments<'_>)
where
    S::Arch: UserMode,
{
    let mut chunk = crate::console::Chunk::new(write::<S>);
    // A `Display` that fails is not the console's to mend.
    let _ = chunk.write_fmt(arguments);
    chunk.flush();
}

fn write<S: System>(text: &str)
where
    S::Arch: UserMode,
{
    let _ = call::<S>(Call::Write, [text.as_ptr() as u64, text.len() as u64, 0, 0, 0]);
}

/// Makes the thread's heap larger by at least so many bytes; returns its new end.
///
/// # Errors
///
/// There is no memory.
pub fn memory<S: System>(bytes: u64) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    call::<S>(Call::Memory, [bytes, 0, 0, 0, 0])
}

/// A thread that a thread of user mode has spawned. If this is dropped, it goes on by itself.
#[derive(Debug)]
pub struct Child<S, R> {
    handle: u64,
    kind: PhantomData<fn() -> (S, R)>,
}

/// Spawns another thread, from user mode.
///
/// # Errors
///
/// There is no memory, or argument or result are too large.
pub fn spawn<S: System, A: UserData, R: UserData>(function: fn(A) -> R, argument: A) -> Result<Child<S, R>, Error>
where
    S::Arch: UserMode,
{
    let begin = begin::<S, A, R> as *const () as usize as u64;
    let place = core::ptr::from_ref(&argument).expose_provenance() as u64;
    let [bytes, result_bytes] = [size_of::<A>() as u64, size_of::<R>() as u64];
    let handle = call::<S>(Call::Spawn, [begin, function as usize as u64, place, bytes, result_bytes])?;
    Ok(Child { handle, kind: PhantomData })
}

impl<S: System, R: UserData> Child<S, R>
where
    S::Arch: UserMode,
{
    /// The thread's number.
    ///
    /// # Errors
    ///
    /// It is no child of the caller's.
    pub fn id(&self) -> Result<u64, Error> {
        call::<S>(Call::Id, [self.handle + 1, 0, 0, 0, 0])
    }

    /// Waits for its end, and returns its result.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`]: it panicked, or did what user mode must not do.
    pub fn join(self) -> Result<R, Error> {
        let mut result = MaybeUninit::<R>::uninit();
        let place = result.as_mut_ptr().expose_provenance() as u64;
        call::<S>(Call::Join, [self.handle, place, size_of::<R>() as u64, 0, 0])?;
        // SAFETY: the kernel has written as many bytes as it has, and any are a value.
        Ok(unsafe { result.assume_init() })
    }
}
