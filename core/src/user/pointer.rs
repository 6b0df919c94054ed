//! What user mode points to: checked, and copied by code that a fault does not end.
#![expect(unsafe_code, reason = "reads and writes the memory of user mode")]

use core::mem::MaybeUninit;
use core::ops::Range;

use memory_addresses::VirtAddr;

use crate::arch::{Access, UserMode};
use crate::memory::layout::{USER, USER_BYTES};
use crate::system::System;
use crate::user::{Error, UserData};

/// The bytes from `address` on, if they lie in the memory of user mode.
fn in_user_memory(address: u64, bytes: u64) -> Result<VirtAddr, Error> {
    let end = address.checked_add(bytes).ok_or(Error::BadAddress)?;
    let inside = USER <= address && end <= USER + USER_BYTES;
    if inside { Ok(VirtAddr::new(address)) } else { Err(Error::BadAddress) }
}

/// Says whether these bytes are in a part of the image that user mode reads as well.
fn in_image<S: System>(range: &Range<u64>) -> bool
where
    S::Arch: UserMode,
{
    let entries = S::Arch::entry_code();
    let is_entries = range.start < entries.end.as_u64() && entries.start.as_u64() < range.end;
    !is_entries
        && S::image().iter().any(|segment| {
            let is_read = matches!(segment.access, Access::ReadOnly | Access::Execute);
            is_read && segment.range.start.as_u64() <= range.start && range.end <= segment.range.end.as_u64()
        })
}

/// Copies what user mode can read at `address`: its own data, or the image's.
///
/// # Errors
///
/// It cannot read that.
pub(super) fn read<S: System>(address: u64, to: &mut [u8]) -> Result<(), Error>
where
    S::Arch: UserMode,
{
    let bytes = to.len() as u64;
    if let Ok(from) = in_user_memory(address, bytes) {
        // SAFETY: checked right here; `to` is a slice.
        let all = unsafe { S::Arch::copy_from_user(to.as_mut_ptr(), from, to.len()) };
        return if all { Ok(()) } else { Err(Error::BadAddress) };
    }
    let end = address.checked_add(bytes).ok_or(Error::BadAddress)?;
    if !in_image::<S>(&(address..end)) {
        return Err(Error::BadAddress);
    }
    let from = VirtAddr::new(address).as_ptr::<u8>();
    // SAFETY: a part of the image that nobody writes, mapped for good; `to` is a slice elsewhere.
    unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    Ok(())
}

/// Copies a value that user mode has at `address`.
///
/// # Errors
///
/// It cannot read that.
pub(super) fn read_value<S: System, T: UserData>(address: u64) -> Result<T, Error>
where
    S::Arch: UserMode,
{
    let from = in_user_memory(address, size_of::<T>() as u64)?;
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: checked right here; the place is a value's.
    if unsafe { S::Arch::copy_from_user(value.as_mut_ptr().cast(), from, size_of::<T>()) } {
        // SAFETY: all its bytes were written, and any are a value.
        Ok(unsafe { value.assume_init() })
    } else {
        Err(Error::BadAddress)
    }
}

/// Copies to where user mode can write.
///
/// # Errors
///
/// It cannot.
pub(super) fn write<S: System>(address: u64, from: &[u8]) -> Result<(), Error>
where
    S::Arch: UserMode,
{
    let to = in_user_memory(address, from.len() as u64)?;
    // SAFETY: checked right here; `from` is a slice.
    let all = unsafe { S::Arch::copy_to_user(to, from.as_ptr(), from.len()) };
    if all { Ok(()) } else { Err(Error::BadAddress) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_wholly_in_the_memory_of_user_mode_is_its_own() {
        let end = USER + USER_BYTES;
        for (address, bytes) in [(USER, 0), (USER, 1), (USER, USER_BYTES), (end - 1, 1), (end, 0)] {
            assert_eq!(in_user_memory(address, bytes), Ok(VirtAddr::new(address)));
        }
        let outside = [
            (0, 0),
            (0, 1),
            (USER - 1, 1),
            (USER - 1, 2),
            (end - 1, 2),
            (end, 1),
            (USER, USER_BYTES + 1),
            (USER, u64::MAX),
        ];
        for (address, bytes) in
            outside.into_iter().chain([(u64::MAX, 1), (u64::MAX, 0), (1 << 63, 8), (0x8000_0000_0000, 1)])
        {
            assert_eq!(in_user_memory(address, bytes), Err(Error::BadAddress), "{address:#x} {bytes}");
        }
    }
}
