//! Decides whether an ELF file is a Hermit image that can be loaded, before hermit-entry's parser sees it.
//!
//! That parser is made for images that a build has just produced: it unwraps, asserts and indexes, so that a damaged
//! file ends it in a panic. Here everything that it relies on is looked at first, with the same views on the file
//! (goblin's, through `plain`), and what loaders ignore silently (relocations in forms that they do not apply) is
//! refused as well. What passes [`check`] can be given to `KernelObject::parse` and `load_kernel` without a panic;
//! the tests hold it to that with thousands of damaged files.
//!
//! It runs in two places, the packer on the host and the loader in the guest, and is cheap: the only loop of weight
//! goes over the relocations, a few instructions each.

mod dynamic;
mod error;
mod headers;
mod notes;
mod segments;

pub use error::ImageError;

use crate::Machine;

/// The most memory that an image may need, in bytes. More can only be a damaged file or a mistake.
pub const MAX_IMAGE_BYTES: u64 = 1 << 30;

/// Addresses and addends in an image stay below this: with 48 bits no sum of a few of them can overflow.
pub const MAX_ADDRESS: u64 = 1 << 48;

/// What a loader needs to know of an image that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The memory that the image takes, in bytes.
    pub memory_bytes: u64,
    /// Where it must lie; [`None`] if it can lie anywhere.
    pub fixed_start: Option<u64>,
}

/// Checks that `image` is a Hermit image for `machine` that hermit-entry can load.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn check(image: &[u8], machine: Machine) -> Result<Checked, ImageError> {
    let headers = headers::read(image, machine)?;
    let memory = segments::check(&headers)?;
    notes::check(&headers)?;
    dynamic::check(&headers, &memory, machine)?;
    Ok(Checked { memory_bytes: memory.bytes, fixed_start: (!headers.is_relocatable()).then_some(memory.start) })
}
