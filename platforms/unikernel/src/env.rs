//! The command line: std's `env`.
#![expect(unsafe_code, reason = "the app's name comes from its crate; the boot information is kept in a static")]

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide_core::boot::BootInfo;
use ebbtide_core::settings::{is_kernels, words};

/// The words of the command line that are the app's, the app's name first.
#[derive(Debug)]
pub struct Args(alloc::vec::IntoIter<String>);

impl Iterator for Args {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Args {}

/// The app's name, then the words of the command line that do not start with `ebbtide.`. Quotes work as in a shell.
pub fn args() -> Args {
    unsafe extern "Rust" {
        /// The app's name, as [`main!`](crate::main) defines it.
        safe static __EBBTIDE_NAME: &'static str;
    }
    let words = words(command_line()).filter(|word| !is_kernels(word)).flat_map(|word| {
        // A quote that is not closed leaves the word as it stands.
        shlex::split(word).unwrap_or_else(|| alloc::vec![String::from(word)])
    });
    Args(core::iter::once(String::from(__EBBTIDE_NAME)).chain(words).collect::<Vec<_>>().into_iter())
}

/// The boot information, copied out of the loader's memory. All zeros at first, so that it takes no room in the image.
struct Kept {
    boot: UnsafeCell<MaybeUninit<BootInfo>>,
    is_written: AtomicBool,
}

// SAFETY: written once, by the boot CPU before any thread exists, and only read after that.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept { boot: UnsafeCell::new(MaybeUninit::uninit()), is_written: AtomicBool::new(false) };

/// Keeps the boot information for good. Called once, before any thread exists.
pub(crate) fn keep(boot: BootInfo) -> &'static BootInfo {
    // SAFETY: nobody has a reference yet, and it is never written again.
    let place = unsafe { &mut *KEPT.boot.get() };
    let kept = place.write(boot);
    KEPT.is_written.store(true, Ordering::Release);
    kept
}

fn kept() -> Option<&'static BootInfo> {
    KEPT.is_written.load(Ordering::Acquire).then(|| {
        // SAFETY: it was written, and is never written again.
        let place = unsafe { &*KEPT.boot.get() };
        // SAFETY: as above.
        unsafe { place.assume_init_ref() }
    })
}

fn command_line() -> &'static str {
    kept().map_or("", |boot| boot.command_line.as_str())
}
