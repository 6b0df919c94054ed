//! What both sides of a system call agree on.
//!
//! ```text
//!           number  arguments                 error  value   lost
//! x86_64    rax     rdi rsi rdx r10 r8        rax    rdx     what a function call loses
//! aarch64   x8      x0 x1 x2 x3 x4            x0     x1      what a function call loses
//! ```
//!
//! On aarch64 x30 and TPIDR_EL0 are lost as well. A register that a call loses is 0 when a system call returns, so none holds what is the kernel's.

use core::fmt;

/// The system calls, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// Does nothing: what a call costs.
    Null,
    /// The thread ends; its result lies where it was told to leave it.
    Exit,
    /// The thread ends with a message: address, bytes.
    Panic,
    /// Writes text to the console: address, bytes.
    Write,
    /// Gives way.
    Yield,
    /// Waits: nanoseconds.
    Sleep,
    /// Nanoseconds since boot.
    Clock,
    /// Waits while a word has a value: address, value, nanoseconds at most.
    FutexWait,
    /// Wakes who waits for a word: address, how many at most. Returns how many.
    FutexWake,
    /// Waits to be unparked: nanoseconds at most.
    Park,
    /// Unparks a thread of user mode: its number.
    Unpark,
    /// Spawns a thread of user mode: first instruction, function, address and bytes of its argument, bytes of its result.
    /// Returns a handle.
    Spawn,
    /// Waits for the end of a thread: handle, address and bytes for its result.
    Join,
    /// Makes the thread's heap larger: bytes. Returns its new end.
    Memory,
    /// The thread's number.
    Id,
}

impl Call {
    /// All of them, by number.
    pub const ALL: [Self; 15] = [
        Self::Null,
        Self::Exit,
        Self::Panic,
        Self::Write,
        Self::Yield,
        Self::Sleep,
        Self::Clock,
        Self::FutexWait,
        Self::FutexWake,
        Self::Park,
        Self::Unpark,
        Self::Spawn,
        Self::Join,
        Self::Memory,
        Self::Id,
    ];

    /// The call of this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// Why a system call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// There is no call of this number.
    UnknownCall = 1,
    /// An address or its range is not the caller's to use.
    BadAddress,
    /// An argument that makes no sense.
    BadArgument,
    /// There is no memory.
    NoMemory,
    /// The time is up.
    TimedOut,
    /// The word has another value.
    Changed,
    /// There is no such thread.
    NoSuchThread,
    /// The thread did not return: it panicked, or did what it must not.
    Ended,
}

impl Error {
    const ALL: [Self; 8] = [
        Self::UnknownCall,
        Self::BadAddress,
        Self::BadArgument,
        Self::NoMemory,
        Self::TimedOut,
        Self::Changed,
        Self::NoSuchThread,
        Self::Ended,
    ];

    /// The error of this number; one that does not exist is taken for the first.
    pub fn from_number(number: u64) -> Self {
        Self::ALL.into_iter().find(|error| *error as u64 == number).unwrap_or(Self::UnknownCall)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCall => "there is no such system call",
            Self::BadAddress => "the address is not the caller's",
            Self::BadArgument => "an argument makes no sense",
            Self::NoMemory => "there is no memory",
            Self::TimedOut => "the time is up",
            Self::Changed => "the word has another value",
            Self::NoSuchThread => "there is no such thread",
            Self::Ended => "the thread did not return",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for (number, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, number);
            assert_eq!(Call::from_number(number as u64), Some(call));
        }
        assert_eq!(Call::from_number(Call::ALL.len() as u64), None);
        assert_eq!(Call::from_number(u64::MAX), None);
        for error in Error::ALL {
            assert_ne!(error as u64, 0, "0 is success");
            assert_eq!(Error::from_number(error as u64), error);
        }
    }
}
