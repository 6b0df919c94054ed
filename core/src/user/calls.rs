//! System calls: the kernel's side.
//!
//! They run on the thread's kernel stack with interrupts on, like any code of a thread: they may wait and may be preempted. Before
//! that, and behind it, the stack policy has its say.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::arch::{Answer, Cpu, UserMode};
use crate::audit;
use crate::console;
use crate::cpu;
use crate::memory::layout;
use crate::platform::Platform;
use crate::system::System;
use crate::thread::{self, border};
use crate::user::runtime::MESSAGE_BYTES;
use crate::user::thread::{MOST_DATA_BYTES, Reason, Task, UserThread, living};
use crate::user::{Call, Error, futex, pointer};

/// Bytes of text that are copied at a time.
const CHUNK_BYTES: usize = 128;

/// A system call.
pub(super) extern "C" fn call<S: System>(a: u64, b: u64, c: u64, d: u64, e: u64, number: u64) -> Answer
where
    S::Arch: UserMode,
{
    audit::interrupts_off::<S>();
    border::enter::<S>();
    cpu::unmask_interrupts::<S>();
    let outside = audit::called::<S>(number);
    let answer = match dispatch::<S>(number, [a, b, c, d, e]) {
        Ok(value) => Answer { error: 0, value },
        Err(error) => Answer { error: error as u64, value: 0 },
    };
    audit::returned::<S>(outside);
    cpu::mask_interrupts::<S>();
    border::leave::<S>(S::Arch::frame_pointer());
    audit::interrupts_on::<S>();
    answer
}

/// Not a part of `call`, which must do with the top page of the stack.
#[inline(never)]
fn dispatch<S: System>(number: u64, [a, b, c, d, e]: [u64; 5]) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    audit::seen_here::<S>();
    match Call::from_number(number).ok_or(Error::UnknownCall)? {
        Call::Null => Ok(0),
        Call::Exit => UserThread::<S>::current().exit(),
        Call::Panic => panicked::<S>(a, b),
        Call::Write => write::<S>(a, b),
        Call::Yield => {
            thread::yield_now::<S>();
            Ok(0)
        }
        Call::Sleep => {
            thread::sleep::<S>(Duration::from_nanos(a));
            Ok(0)
        }
        Call::Clock => Ok(S::Platform::now()),
        Call::FutexWait => futex::wait::<S>(a, b, c),
        Call::FutexWake => Ok(futex::wake::<S>(a, b)),
        Call::Park => {
            thread::park_timeout::<S>(Duration::from_nanos(a));
            Ok(0)
        }
        Call::Unpark => {
            living::<S>(a).ok_or(Error::NoSuchThread)?.unpark();
            Ok(0)
        }
        Call::Spawn => spawn::<S>(a, b, c, d, e),
        Call::Join => {
            let result = UserThread::<S>::current().join(a)?;
            if result.len() as u64 != c {
                return Err(Error::BadArgument);
            }
            pointer::write::<S>(b, &result).map(|()| 0)
        }
        Call::Memory => UserThread::<S>::current().region.grow(a).map_err(|_| Error::NoMemory),
        Call::Id => id::<S>(a),
    }
}

/// The number of the running thread, or, behind its handle, of one that it has spawned.
fn id<S: System>(handle: u64) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    match handle.checked_sub(1) {
        None => Ok(cpu::current::<S>().id().0),
        Some(handle) => UserThread::<S>::current().number_of(handle),
    }
}

fn write<S: System>(mut address: u64, mut bytes: u64) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    let all = bytes;
    let mut chunk = [0; CHUNK_BYTES];
    while bytes > 0 {
        let part = &mut chunk[..bytes.min(CHUNK_BYTES as u64) as usize];
        pointer::read::<S>(address, part)?;
        // What is cut off of a character comes with the next part.
        let text = match str::from_utf8(part) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
                str::from_utf8(&part[..error.valid_up_to()]).map_err(|_| Error::BadArgument)?
            }
            Err(_) => return Err(Error::BadArgument),
        };
        console::print_str::<S>(text);
        address += text.len() as u64;
        bytes -= text.len() as u64;
    }
    Ok(all)
}

/// A panic in user mode: told on the console, and to who joins the thread.
fn panicked<S: System>(address: u64, bytes: u64) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    let mut message = [0; MESSAGE_BYTES];
    let message = message.get_mut(..bytes as usize).ok_or(Error::BadArgument)?;
    pointer::read::<S>(address, message)?;
    let message = String::from(str::from_utf8(message).map_err(|_| Error::BadArgument)?);
    console::print::<S>(format_args!("ebbtide: {} ended: it panicked: {message}\n", cpu::current::<S>()));
    UserThread::<S>::current().end(Reason::Panic, message)
}

fn spawn<S: System>(begin: u64, function: u64, argument: u64, bytes: u64, result_bytes: u64) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    let small = |bytes| usize::try_from(bytes).ok().filter(|bytes| *bytes <= MOST_DATA_BYTES).ok_or(Error::BadArgument);
    let (bytes, result_bytes) = (small(bytes)?, small(result_bytes)?);
    // A CPU of Intel's would go elsewhere with the kernel's rights (SDM volume 2, SYSRET).
    if !layout::may_begin_at(begin) {
        return Err(Error::BadAddress);
    }
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes).map_err(|_| Error::NoMemory)?;
    copy.resize(bytes, 0);
    pointer::read::<S>(argument, &mut copy)?;
    UserThread::<S>::current().spawn(Task { begin, function, result_bytes }, &copy)
}
