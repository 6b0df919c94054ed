//! The first page tables and segments: the first 4 GiB at their own addresses, in pages of 2 MiB.
//!
//! All of it is constant and lies in the file ready-made: no instruction is spent on it, and the 32-bit entry code has
//! only to load its addresses.

#![expect(unsafe_code, reason = "a pointer for the CPU stands in a static that the CPU alone reads")]

use core::sync::atomic::{AtomicPtr, AtomicU64};

use x86_64::structures::gdt::DescriptorFlags;
use x86_64::structures::paging::PageTableFlags;

const ENTRIES: usize = 512;
const GIB_MAPPED: usize = 4;
const LARGE_PAGE_BYTES: u64 = 2 << 20;

const TABLE_FLAGS: u64 = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).bits();
const PAGE_FLAGS: u64 = TABLE_FLAGS | PageTableFlags::HUGE_PAGE.bits();

/// A table of entries that point to tables of the type `T`, as pointers that the linker resolves.
///
/// The CPU notes in a table what was accessed, hence the atomic words.
#[repr(C, align(4096))]
pub struct Directory([AtomicPtr<u8>; ENTRIES]);

/// Tables whose entries map pages of 2 MiB.
#[repr(C, align(4096))]
pub struct Pages([[AtomicU64; ENTRIES]; GIB_MAPPED]);

/// The root table.
pub static ROOT: Directory = {
    let mut entries = [const { AtomicPtr::new(core::ptr::null_mut()) }; ENTRIES];
    entries[0] = entry((&raw const GIBS).cast());
    Directory(entries)
};

static GIBS: Directory = {
    let mut entries = [const { AtomicPtr::new(core::ptr::null_mut()) }; ENTRIES];
    let mut gib = 0;
    while gib < GIB_MAPPED {
        let table = (&raw const PAGES).cast::<[AtomicU64; ENTRIES]>().wrapping_add(gib);
        entries[gib] = entry(table.cast());
        gib += 1;
    }
    Directory(entries)
};

static PAGES: Pages = {
    let mut tables = [const { [const { AtomicU64::new(0) }; ENTRIES] }; GIB_MAPPED];
    let mut page = 0;
    while page < GIB_MAPPED * ENTRIES {
        let address = page as u64 * LARGE_PAGE_BYTES;
        tables[page / ENTRIES][page % ENTRIES] = AtomicU64::new(address | PAGE_FLAGS);
        page += 1;
    }
    Pages(tables)
};

/// An entry that points to a table: its address, the flags in the low bits.
const fn entry(table: *const u8) -> AtomicPtr<u8> {
    AtomicPtr::new(table.wrapping_byte_add(TABLE_FLAGS as usize).cast_mut())
}

/// Selectors of the segments in [`SEGMENTS`]: the same that hermit-loader leaves.
pub const CODE_SELECTOR: u16 = 8;
/// See [`CODE_SELECTOR`].
pub const DATA_SELECTOR: u16 = 16;

/// The segments: none, 64-bit code, data.
pub static SEGMENTS: [u64; 3] = [0, DescriptorFlags::KERNEL_CODE64.bits(), DescriptorFlags::KERNEL_DATA.bits()];

/// What `lgdt` reads: the table's last byte's offset and its address (of which 32-bit code reads the lower half).
#[repr(C, packed(2))]
pub struct SegmentsPointer {
    limit: u16,
    base: *const [u64; 3],
}

// SAFETY: nothing but the CPU follows the pointer.
unsafe impl Sync for SegmentsPointer {}

/// The operand of `lgdt`.
pub static SEGMENTS_POINTER: SegmentsPointer =
    SegmentsPointer { limit: size_of::<[u64; 3]>() as u16 - 1, base: &raw const SEGMENTS };

const _: () =
    assert!(core::mem::offset_of!(SegmentsPointer, base) == 2, "the CPU reads the base directly behind the limit");
