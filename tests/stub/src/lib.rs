//! Loaders that leave the machine states of other Hermit loaders, for tests of the kernel's first steps.
//!
//! A kernel that any hermit-entry loader may start must not rely on what this project's own loader happens to leave.
//! A stub is that loader up to the kernel's entry, and then leaves what another one would: control registers, page tables,
//! stack and boot information. There is one for each architecture, in a folder of its name; here is what they share. A word
//! on the command line says whose state it is (`stub=hermit-loader`); the kernel does not get to see it.
#![expect(unsafe_code, reason = "spoils bytes that mean nothing")]
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;

use hermit_entry::boot_info::RawBootInfo;

/// The word of the command line that is the stub's.
const WORD: &str = "stub=";

/// What is left where boot information has no meaning. Loaders leave there what was on their stack.
const GARBAGE: u8 = 0xa5;

const _: () = assert!(size_of::<RawBootInfo>() == 128, "the layout is that of hermit-entry 0.10");

/// Takes the stub's word from a command line: the name behind `stub=`, and the other words.
#[must_use]
pub fn choose(command_line: &str) -> (Option<&str>, String) {
    let mut rest = String::new();
    let mut chosen = None;
    for word in command_line.split(' ') {
        if let Some(name) = word.strip_prefix(WORD) {
            chosen = Some(name);
        } else {
            if !rest.is_empty() {
                rest.push(' ');
            }
            rest.push_str(word);
        }
    }
    (chosen, rest)
}

/// Puts garbage where boot information has no meaning.
///
/// # Panics
///
/// A byte that is said to be unused lies outside.
#[must_use]
pub fn spoil(boot_info: RawBootInfo, unused: impl IntoIterator<Item = usize>) -> &'static RawBootInfo {
    let boot_info = Box::into_raw(Box::new(boot_info));
    for at in unused {
        assert!(at < size_of::<RawBootInfo>(), "there is no byte {at}");
        // SAFETY: it lies within the structure, in bytes that belong to no value.
        let byte = unsafe { boot_info.cast::<u8>().add(at) };
        // SAFETY: as above.
        unsafe { byte.write(GARBAGE) };
    }
    // SAFETY: it was made by a `Box` just now, and is never freed.
    unsafe { &*boot_info }
}
