//! Looks at the raw boot information before hermit-entry reads it, since that reader trusts what it finds.
//!
//! It makes a number into an `enum`, a pointer and a length into a `str`, and unwraps a time. So these are looked at
//! first, through a structure with the same layout in which every bit pattern is valid. The fields of the original are
//! private: a test compares the two, with boot information that was made by hermit-entry itself.

#![expect(unsafe_code, reason = "reads boot information of a loader as plain words")]

use core::mem::MaybeUninit;
use core::ptr;
use core::slice;
use core::str;

use ebbtide_core::boot::MAX_COMMAND_LINE_BYTES;
use hermit_entry::boot_info::{BootInfo, RawBootInfo};

use crate::arch;
use crate::error::BootError;

/// Times that hermit-entry can read lie in the years -9999 to 9999; in nanoseconds since 1970.
const TIMES: core::ops::RangeInclusive<i128> = -377_705_116_800_000_000_000..=253_402_300_799_999_999_999;

/// What a platform's payload holds.
#[derive(Clone, Copy)]
pub enum Platform {
    /// A command line and the address of another structure.
    CommandLine,
    /// Uhyve's facts about the machine.
    Uhyve,
    /// Nothing: everything is in the device tree.
    Tree,
}

/// [`RawBootInfo`] without a meaning. The unused halves of words are whatever the loader left there.
#[repr(C)]
struct Words {
    physical: [u64; 2],
    serial_port: MaybeUninit<u64>,
    device_tree: u64,
    image: [u64; 2],
    tls: [u64; 4],
    tag: u32,
    unused: MaybeUninit<u32>,
    payload: [MaybeUninit<u64>; 5],
}

const _: () = assert!(
    size_of::<Words>() == size_of::<RawBootInfo>() && align_of::<Words>() == align_of::<RawBootInfo>(),
    "the layout is hermit-entry's"
);

/// Returns what a loader's boot information says, if hermit-entry can read it without a panic.
pub fn read(raw: &RawBootInfo) -> Result<BootInfo, BootError> {
    // SAFETY: it has this size and alignment, and any bit pattern is valid.
    let words = unsafe { &*ptr::from_ref(raw).cast::<Words>() };
    let platform = usize::try_from(words.tag).ok().and_then(|tag| arch::PLATFORMS.get(tag));
    match platform {
        None => return Err(BootError::Platform { tag: words.tag }),
        Some(Platform::CommandLine) => check_command_line(words)?,
        Some(Platform::Uhyve) => check_uhyve(words)?,
        Some(Platform::Tree) => {}
    }
    Ok(BootInfo::from(*raw))
}

fn check_command_line(words: &Words) -> Result<(), BootError> {
    let [start, bytes, other] = [0, 1, 2].map(|at| payload(words, at));
    if other == 0 {
        return Err(BootError::Payload("the platform's own structure is missing"));
    }
    if start == 0 {
        return Ok(());
    }
    if bytes > MAX_COMMAND_LINE_BYTES as u64 {
        return Err(BootError::LongCommandLine { bytes });
    }
    let start = ptr::with_exposed_provenance::<u8>(start as usize);
    // SAFETY: the platform promises that so many bytes can be read there.
    let bytes = unsafe { slice::from_raw_parts(start, bytes as usize) };
    str::from_utf8(bytes).map(|_| ()).map_err(|_| BootError::CommandLineText)
}

fn check_uhyve(words: &Words) -> Result<(), BootError> {
    let [flag, cpus] = [0, 1].map(|at| payload(words, at));
    if flag.to_ne_bytes()[0] > 1 || cpus == 0 {
        return Err(BootError::Payload("uhyve's facts about the machine"));
    }
    let mut time = [0; 16];
    time[..8].copy_from_slice(&payload(words, 3).to_ne_bytes());
    time[8..].copy_from_slice(&payload(words, 4).to_ne_bytes());
    if TIMES.contains(&i128::from_ne_bytes(time)) { Ok(()) } else { Err(BootError::Payload("uhyve's boot time")) }
}

fn payload(words: &Words, at: usize) -> u64 {
    // SAFETY: it is memory that a loader filled, not the compiler's: any value will do.
    unsafe { words.payload[at].assume_init() }
}

#[cfg(test)]
mod tests;
