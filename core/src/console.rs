//! The console: whole lines where possible, from any thread, and from a panic without a lock.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::platform::Platform;
use crate::sync::SpinLock;
use crate::system::System;

/// Held while one piece of output is written.
pub(crate) static LOCK: SpinLock<()> = SpinLock::new(());

/// Whether the last byte ended a line, so that the end line always stands alone.
static AT_LINE_START: AtomicBool = AtomicBool::new(true);

/// Bytes that are collected before they are written in one piece.
const CHUNK_BYTES: usize = 128;

/// Writes formatted text: what `print!` is made of. Lines of up to 128 bytes come out in one piece.
///
/// The text is formatted before the lock is taken, so formatting may allocate, block, or print itself.
pub fn print<S: System>(arguments: fmt::Arguments<'_>) {
    let mut chunk = Chunk::new(locked::<S>);
    // A `Display` that fails is not the console's to mend.
    let _ = chunk.write_fmt(arguments);
    chunk.flush();
}

/// Writes text, in one piece.
pub(crate) fn print_str<S: System>(text: &str) {
    locked::<S>(text);
}

/// Writes formatted text without taking a lock, for reports of a kernel that may hold it.
pub fn print_unlocked<S: System>(arguments: fmt::Arguments<'_>) {
    let mut chunk = Chunk::new(unlocked::<S>);
    let _ = chunk.write_fmt(arguments);
    chunk.flush();
}

/// A writer for reports: no lock, no allocation.
#[derive(Debug)]
pub struct Report<S>(PhantomData<fn() -> S>);

impl<S: System> Report<S> {
    /// Creates one, on a line of its own.
    pub fn new() -> Self {
        if !AT_LINE_START.load(Ordering::Relaxed) {
            unlocked::<S>("\n");
        }
        Self(PhantomData)
    }
}

impl<S: System> Default for Report<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: System> Write for Report<S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        unlocked::<S>(text);
        Ok(())
    }
}

/// Text that is collected and written in pieces.
pub(crate) struct Chunk {
    bytes: heapless::String<CHUNK_BYTES>,
    write: fn(&str),
}

impl Chunk {
    pub(crate) fn new(write: fn(&str)) -> Self {
        Self { bytes: heapless::String::new(), write }
    }

    pub(crate) fn flush(&mut self) {
        if !self.bytes.is_empty() {
            (self.write)(&self.bytes);
            self.bytes.clear();
        }
    }
}

impl Write for Chunk {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.bytes.push_str(text).is_err() {
            self.flush();
            if self.bytes.push_str(text).is_err() {
                (self.write)(text);
            }
        }
        Ok(())
    }
}

fn locked<S: System>(text: &str) {
    LOCK.with::<S, _>(|()| unlocked::<S>(text));
}

fn unlocked<S: System>(text: &str) {
    // The CPU may be stopped in the middle: then a report does not begin there.
    AT_LINE_START.store(false, Ordering::Relaxed);
    S::Platform::write(text.as_bytes());
    AT_LINE_START.store(text.ends_with('\n'), Ordering::Relaxed);
}
