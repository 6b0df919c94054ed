//! Ends: what is said when a run ends, whatever ends it.
//!
//! The last line is always `ebbtide: end code=N reason=WORD`; a run counts only if it and the exit status agree.
//! Reports allocate nothing and take no lock.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use memory_addresses::VirtAddr;

use crate::arch::Cpu;
use crate::audit;
use crate::backtrace::Backtrace;
use crate::console::Report;
use crate::cpu;
use crate::platform::Platform;
use crate::stack::StackPolicy;
use crate::stack::emergency::Fate;
use crate::stop::stop_others;
use crate::system::System;
use crate::thread::Thread;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The app's exit code, 0 to 99; any other number ends the run with 100 and names it.
    Exit(i32),
    /// A panic.
    Panic,
    /// A stack overflow.
    StackOverflow,
    /// A deadlock on memory for stacks.
    StackDeadlock,
    /// Out of memory.
    OutOfMemory,
    /// An exception that nobody handles.
    Exception,
    /// The boot was refused: image, memory, boot information, command line.
    BootRefused,
    /// An `audit` build found an invariant broken.
    BrokenInvariant,
}

impl End {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Exit(code @ 0..=99) => code as u8,
            Self::Exit(_) => 100,
            Self::Panic => 101,
            Self::StackOverflow => 102,
            Self::StackDeadlock => 103,
            Self::OutOfMemory => 104,
            Self::Exception => 105,
            Self::BootRefused => 106,
            Self::BrokenInvariant => 107,
        }
    }
}

impl fmt::Display for End {
    /// The word of the last line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit(0..=99) => "exit",
            Self::Exit(code) => return write!(f, "exit-code-{code}-out-of-range"),
            Self::Panic => "panic",
            Self::StackOverflow => "stack-overflow",
            Self::StackDeadlock => "stack-memory-deadlock",
            Self::OutOfMemory => "out-of-memory",
            Self::Exception => "exception",
            Self::BootRefused => "boot-refused",
            Self::BrokenInvariant => "broken-invariant",
        })
    }
}

/// Ends the run: the last line, then the machine's exit.
pub fn end<S: System>(end: End) -> ! {
    stop_others::<S>();
    audit::report::<S>();
    audit::faults::report::<S>();
    // A writer for reports never fails.
    let _ = writeln!(Report::<S>::new(), "ebbtide: end code={} reason={end}", end.code());
    S::Platform::exit(end.code())
}

/// Refuses to boot.
pub fn refuse<S: System>(reason: impl fmt::Display) -> ! {
    stop_others::<S>();
    let _ = writeln!(Report::<S>::new(), "ebbtide: boot refused: {reason}");
    end::<S>(End::BootRefused)
}

/// A panic: message, place, thread, backtrace. A panic of the report itself ends with less.
pub fn panic<S: System>(info: &PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    S::Arch::disable_interrupts();
    // For good: the message is the app's code, and whatever it does, this thread keeps the CPU.
    S::Arch::preempt_disable();
    stop_others::<S>();
    let mut report = Report::<S>::new();
    if PANICKING.swap(true, Ordering::Relaxed) {
        if let Some(place) = info.location() {
            let _ = writeln!(report, "panicked again, at {place}, while this was reported");
        }
        end::<S>(End::Panic);
    }
    let _ = write!(report, "{} panicked", InThread::<S>::new());
    let _ = match info.location() {
        Some(place) => writeln!(report, " at {place}:"),
        None => writeln!(report, ":"),
    };
    let _ = writeln!(report, "{}", info.message());
    let out_of_memory = is_out_of_memory(info);
    if out_of_memory {
        let free = S::kernel().frame_counts_now::<S>();
        let _ = writeln!(report, "out of memory: {} KiB of {} KiB are free", 4 * free.free, 4 * free.total);
    }
    let _ = write!(report, "{}", Backtrace::<S>::from(S::Arch::frame_pointer()));
    end::<S>(if out_of_memory { End::OutOfMemory } else { End::Panic })
}

/// `alloc` reports an allocation that failed by a panic; on stable Rust its text is all that tells it.
fn is_out_of_memory(info: &PanicInfo<'_>) -> bool {
    struct Prefix(&'static [u8]);
    impl Write for Prefix {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let common = text.len().min(self.0.len());
            if text.as_bytes()[..common] != self.0[..common] {
                return Err(fmt::Error);
            }
            self.0 = &self.0[common..];
            Ok(())
        }
    }
    let mut prefix = Prefix(b"memory allocation of ");
    write!(prefix, "{}", info.message()).is_ok() && prefix.0.is_empty()
}

/// There are no frames to switch to the first thread.
pub(crate) fn out_of_stack_memory<S: System>(next: &Thread, need: usize) -> ! {
    let free = S::kernel().frame_counts_now::<S>();
    let cache = cpu::this::<S>().with_stack_cache(|cache| cache.len());
    stop_others::<S>();
    let mut report = Report::<S>::new();
    let _ = writeln!(
        report,
        "ebbtide: out of memory: {next} needs {need} frames for its stack before it can run under policy {}; \
         {cache} are in the stack cache, {} of {} are free",
        S::Policy::NAME,
        free.free,
        free.total,
    );
    end::<S>(End::OutOfMemory)
}

/// Where something went wrong in a thread's stack.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The address that was touched.
    pub address: VirtAddr,
    /// The instruction.
    pub instruction: VirtAddr,
    /// The stack pointer.
    pub stack_pointer: VirtAddr,
    /// The frame pointer.
    pub frame_pointer: VirtAddr,
}

/// Below the stack: the report of invariant 10. Runs on a trap stack. Returns if the thread goes on.
#[inline(never)]
pub(crate) fn overflow<S: System>(
    owner: &dyn fmt::Display,
    limit: VirtAddr,
    top: VirtAddr,
    populated: usize,
    at: &Place,
    fate: Fate,
) {
    if fate != Fate::GoesOn {
        stop_others::<S>();
    }
    let mut report = Report::<S>::new();
    let faults = S::Arch::per_cpu().stack_faults.load(Ordering::Relaxed);
    let _ = writeln!(
        report,
        "ebbtide: stack overflow in {owner}\n  policy {}, stack {limit:#x}..{top:#x} ({} KiB), {populated} pages \
         populated\n  touched {:#x}, stack pointer {:#x}, stack faults {faults}",
        S::Policy::NAME,
        (top - limit) >> 10,
        at.address,
        at.stack_pointer,
    );
    if at.address >= limit {
        let _ = writeln!(
            report,
            "  the pages below are not populated: `stack::ensure` was not asked for as much as this needs"
        );
    }
    let _ = write!(report, "{}", Backtrace::<S>::from_trap(at.instruction, at.frame_pointer));
    match fate {
        Fate::GoesOn => {
            let _ = report.write_str("ebbtide: warning: it goes on, on its emergency page\n");
            return;
        }
        Fate::Ends("") => {}
        Fate::Ends(why) => _ = writeln!(report, "ebbtide: it cannot go on: {why}"),
    }
    end::<S>(End::StackOverflow)
}

/// An exception that nobody handles. Runs on a trap stack.
pub fn exception<S: System>(what: impl fmt::Display, at: &Place) -> ! {
    stop_others::<S>();
    let mut report = Report::<S>::new();
    let _ = writeln!(
        report,
        "ebbtide: {what} in {}\n  at {:#x}, stack pointer {:#x}",
        InThread::<S>::new(),
        at.instruction,
        at.stack_pointer,
    );
    let _ = write!(report, "{}", Backtrace::<S>::from_trap(at.instruction, at.frame_pointer));
    end::<S>(End::Exception)
}

/// The running thread, or the boot code when there is none yet.
pub(crate) struct InThread<S>(core::marker::PhantomData<fn() -> S>);

impl<S> InThread<S> {
    pub(crate) fn new() -> Self {
        Self(core::marker::PhantomData)
    }
}

impl<S: System> fmt::Display for InThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match S::Arch::per_cpu().current() {
            Some(thread) => thread.fmt(f),
            None => f.write_str("the boot code"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::string::ToString;

    use super::*;

    const ENDS: [End; 7] = [
        End::Panic,
        End::StackOverflow,
        End::StackDeadlock,
        End::OutOfMemory,
        End::Exception,
        End::BootRefused,
        End::BrokenInvariant,
    ];

    #[test]
    fn an_apps_code_is_passed_on_or_named() {
        assert_eq!((End::Exit(0).code(), End::Exit(99).code()), (0, 99));
        for code in [100, -1, 256, i32::MIN] {
            assert_eq!(End::Exit(code).code(), 100);
            assert!(End::Exit(code).to_string().contains(&code.to_string()));
        }
    }

    #[test]
    fn every_end_has_a_code_and_a_word_of_its_own() {
        assert_eq!(ENDS.map(End::code), [101, 102, 103, 104, 105, 106, 107]);
        let words: BTreeSet<_> = ENDS.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), ENDS.len());
        assert!(words.iter().all(|word| !word.contains(char::is_whitespace)), "one word, for scripts");
    }
}
