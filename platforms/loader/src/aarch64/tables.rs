//! The first page table: the first 4 GiB at their own addresses, the lowest one as devices, in blocks of 1 GiB.
//!
//! It is constant and lies in the file ready-made: no instruction is spent on it. With 39 bits of virtual addresses the
//! walk starts at level 1, so one table is all (Arm ARM, D8.2.5).

const ENTRIES: usize = 512;

/// The GiB that are mapped, as far as `memory::place` puts a kernel.
const GIB_MAPPED: usize = 4;

/// MAIR_EL1: attribute 0 is a device (nGnRE), 1 is memory, write-back.
pub const MEMORY_ATTRIBUTES: u64 = 0xff << 8 | 0x04;

/// TCR_EL1 without the size of physical addresses: 39 bits of lower addresses, walks through the caches, no upper ones.
pub const TRANSLATION: u64 = 25 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23;

/// A block: valid, and accessed already.
const BLOCK: u64 = 1 << 10 | 0b01;

/// Attribute 0, not executable.
const DEVICE: u64 = BLOCK | 1 << 54 | 1 << 53;

/// Attribute 1, inner shareable.
const MEMORY: u64 = BLOCK | 1 << 2 | 0b11 << 8;

/// A table of level 1.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Table([u64; ENTRIES]);

/// The root table. On `virt`, devices lie below 1 GiB and RAM above.
pub static ROOT: Table = {
    let mut entries = [0; ENTRIES];
    let mut gib = 0;
    while gib < GIB_MAPPED {
        let kind = if gib == 0 { DEVICE } else { MEMORY };
        entries[gib] = (gib as u64) << 30 | kind;
        gib += 1;
    }
    Table(entries)
};
