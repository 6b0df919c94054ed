//! Page tables as hermit-loader leaves them: little memory at its own addresses, all of it writable and executable; the
//! serial port at an address that is not its own; the root as its own last table; and nothing else.

use core::sync::atomic::{AtomicU64, Ordering};

const ENTRIES: usize = 512;
const PAGE_BYTES: u64 = 4 << 10;
const LARGE_PAGE_BYTES: u64 = PAGE_BYTES * ENTRIES as u64;
const GIB_BYTES: u64 = LARGE_PAGE_BYTES * ENTRIES as u64;

/// Where RAM starts, and how much of it is mapped, in bytes.
const RAM: u64 = GIB_BYTES;
const MAPPED_BYTES: u64 = 20 << 20;

/// What is mapped at its own address ends here.
pub const MAPPED_END: u64 = RAM + MAPPED_BYTES;

/// Where the serial port is mapped.
pub const SERIAL_PORT: u64 = 0x1000;

/// MAIR_EL1: attribute 0 is a device (nGnRE), 1 is memory, write-back.
pub const MEMORY_ATTRIBUTES: u64 = 0xff << 8 | 0x04;

/// TCR_EL1: 48 bits of lower addresses, walks through the caches, no upper ones; 40 bits of physical addresses.
pub const TRANSLATION: u64 = 16 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23 | 0b010 << 32;

/// Valid; a table, or, in the last one, a page.
const TABLE: u64 = 0b11;
/// Accessed, attribute 1, inner shareable.
const MEMORY: u64 = 1 << 10 | 0b11 << 8 | 1 << 2;
/// Accessed, attribute 0, not executable.
const DEVICE: u64 = 1 << 10 | 1 << 54 | 1 << 53;
const BLOCK: u64 = 0b01;

#[repr(C, align(4096))]
pub struct Table([AtomicU64; ENTRIES]);

impl Table {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENTRIES])
    }

    fn set(&self, at: u64, entry: u64) {
        self.0[at as usize].store(entry, Ordering::Relaxed);
    }

    fn address(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }
}

static ROOT: Table = Table::new();
static GIBS: Table = Table::new();
static LOW: Table = Table::new();
static LOWEST: Table = Table::new();
static MEMORY_GIB: Table = Table::new();

/// Fills the tables, with the serial port's registers at physical address `port`, and returns the root's address.
pub fn build(port: u64) -> u64 {
    ROOT.set(0, GIBS.address() | TABLE);
    ROOT.set(ENTRIES as u64 - 1, ROOT.address() | TABLE);
    GIBS.set(0, LOW.address() | TABLE);
    GIBS.set(RAM / GIB_BYTES, MEMORY_GIB.address() | TABLE);
    LOW.set(0, LOWEST.address() | TABLE);
    LOWEST.set(SERIAL_PORT / PAGE_BYTES, port | DEVICE | TABLE);
    for at in 0..MAPPED_BYTES / LARGE_PAGE_BYTES {
        MEMORY_GIB.set(at, (RAM + at * LARGE_PAGE_BYTES) | MEMORY | BLOCK);
    }
    ROOT.address()
}
