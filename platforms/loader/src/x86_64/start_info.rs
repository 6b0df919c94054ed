//! What PVH hands over: the memory map and the command line.
//!
//! Layout: `struct hvm_start_info` and `struct hvm_memmap_table_entry`, version 1, in Xen's
//! `public/arch-x86/hvm/start_info.h`. All addresses in it are physical; here they are also virtual, up to 4 GiB.

#![expect(unsafe_code, reason = "reads structures that the firmware left in memory")]

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ops::Range;
use core::{ptr, slice};

use crate::boot::{Firmware, MAX_COMMAND_LINE_BYTES, Origin};
use crate::memory::whole_pages;
use crate::refusal::Refusal;

/// "xEn3", with the top bit of the E set.
const MAGIC: u32 = 0x336e_c578;

/// The first version that has a memory map.
const VERSION_WITH_MEMORY_MAP: u32 = 1;

/// The type of usable RAM in the memory map.
const RAM: u32 = 1;

/// More entries than any firmware's map has.
const MAX_ENTRIES: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryMapEntry {
    start: u64,
    length: u64,
    kind: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<StartInfo>() == 56 && size_of::<MemoryMapEntry>() == 24, "the layout is Xen's");

/// Copies what the kernel will be told out of the start information at physical address `address`.
///
/// # Errors
///
/// What is missing or cannot be understood.
///
/// # Safety
///
/// `address` is what came in ebx at the entry, and the memory has not been written to since.
pub unsafe fn read(address: u32, counter_at_start: u64) -> Result<Firmware, Refusal> {
    // SAFETY: the protocol puts the structure there; any address below 4 GiB can be read, aligned or not.
    let info = unsafe { pointer::<StartInfo>(address.into())?.read_unaligned() };
    if info.magic != MAGIC {
        return Err(Refusal::Firmware(
            "no PVH start information; boot with `qemu -kernel`, and at most 2048 bytes of command line",
        ));
    }
    if info.version < VERSION_WITH_MEMORY_MAP || info.memory_map_entries == 0 {
        return Err(Refusal::Firmware("no memory map; use a newer QEMU"));
    }
    Ok(Firmware {
        // SAFETY: the start information is in order, so it describes a memory map.
        memory: unsafe { memory(&info)? },
        // SAFETY: likewise for the command line.
        command_line: unsafe { command_line(&info)? },
        origin: Origin::Acpi { rsdp: Some(info.rsdp).filter(|address| *address != 0) },
        counter_at_start,
    })
}

/// The RAM that the memory map names.
///
/// # Safety
///
/// The start information is what the protocol handed over.
unsafe fn memory(info: &StartInfo) -> Result<Vec<Range<u64>>, Refusal> {
    if info.memory_map_entries > MAX_ENTRIES {
        return Err(Refusal::Firmware("the memory map has far too many entries"));
    }
    let first = pointer::<MemoryMapEntry>(info.memory_map)?;
    let entries = (0..info.memory_map_entries as usize).map(|at| {
        // SAFETY: the protocol puts so many entries there, and below 4 GiB everything can be read.
        unsafe { first.wrapping_add(at).read_unaligned() }
    });
    let ram = entries.filter(|entry| entry.kind == RAM);
    Ok(ram.filter_map(|entry| whole_pages(entry.start, entry.length)).collect())
}

/// The command line.
///
/// # Safety
///
/// As [`memory`].
unsafe fn command_line(info: &StartInfo) -> Result<String, Refusal> {
    if info.command_line == 0 {
        return Ok(String::new());
    }
    let first = pointer::<u8>(info.command_line)?;
    // SAFETY: below 4 GiB everything can be read; where nothing is, the bytes have some value.
    let bytes = unsafe { slice::from_raw_parts(first, MAX_COMMAND_LINE_BYTES + 1) };
    let line = CStr::from_bytes_until_nul(bytes)
        .map_err(|_| Refusal::CommandLine("longer than 4096 bytes; make it shorter"))?;
    let line = line.to_str().map_err(|_| Refusal::CommandLine("not UTF-8; write it in UTF-8"))?;
    Ok(line.into())
}

fn pointer<T>(address: u64) -> Result<*const T, Refusal> {
    match u32::try_from(address) {
        Ok(address) => Ok(ptr::with_exposed_provenance(address as usize)),
        Err(_) => Err(Refusal::Firmware("something lies above 4 GiB, where the loader cannot read")),
    }
}
