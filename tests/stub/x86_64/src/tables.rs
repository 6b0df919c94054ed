//! Page tables as other loaders leave them: memory at its own addresses in pages of 2 MiB, all of them writable and
//! executable, up to an end, and with nothing behind it.
//!
//! One page of 4 KiB is left out, below the kernel's first stack: whoever pushes before changing stacks finds no memory
//! there, no handler either, and the machine resets, which no test takes for a pass.

#![expect(unsafe_code, reason = "builds page tables in statics that the CPU reads")]

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::structures::paging::{PageTableFlags, PhysFrame};
use x86_64::{
    PhysAddr,
    registers::control::{Cr3, Cr3Flags},
};

use crate::stack::GUARD_BYTES;

const ENTRIES: usize = 512;
const SMALL_PAGE_BYTES: u64 = GUARD_BYTES as u64;
const LARGE_PAGE_BYTES: u64 = SMALL_PAGE_BYTES * ENTRIES as u64;
const GIB_BYTES: u64 = LARGE_PAGE_BYTES * ENTRIES as u64;

/// Guests of 16 GiB end at 18 GiB on q35.
const MAX_GIB: usize = 20;

const TABLE: u64 = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).bits();
const LARGE_PAGE: u64 = TABLE | PageTableFlags::HUGE_PAGE.bits();

/// Atomic, since the CPU notes in it what was accessed.
#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);

impl Table {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENTRIES])
    }

    fn set(&self, at: usize, entry: u64) {
        self.0[at].store(entry, Ordering::Relaxed);
    }

    fn address(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }
}

static ROOT: Table = Table::new();
static GIBS: Table = Table::new();
static LARGE: [Table; MAX_GIB] = [const { Table::new() }; MAX_GIB];
static SMALL: Table = Table::new();

/// Fills the tables: all memory from 0 to `end`, except the page at `guard`. Returns whether they reach that far.
pub fn build(end: u64, guard: u64) -> bool {
    ROOT.set(0, GIBS.address() | TABLE);
    let mut address = 0;
    while address < end {
        let Some(table) = LARGE.get((address / GIB_BYTES) as usize) else {
            return false;
        };
        GIBS.set((address / GIB_BYTES) as usize, table.address() | TABLE);
        let at = (address / LARGE_PAGE_BYTES) as usize % ENTRIES;
        if address == guard - guard % LARGE_PAGE_BYTES {
            leave_out(address, guard);
            table.set(at, SMALL.address() | TABLE);
        } else {
            table.set(at, address | LARGE_PAGE);
        }
        address += LARGE_PAGE_BYTES;
    }
    true
}

/// Maps a large page's memory from `start` on in small pages, but for the one at `guard`.
fn leave_out(start: u64, guard: u64) {
    for at in 0..ENTRIES {
        let address = start + at as u64 * SMALL_PAGE_BYTES;
        SMALL.set(at, if address == guard { 0 } else { address | TABLE });
    }
}

/// Makes the CPU use the tables.
///
/// # Safety
///
/// [`build`] filled them, up to an end behind everything that is still used.
pub unsafe fn load() {
    let root = PhysFrame::containing_address(PhysAddr::new(ROOT.address()));
    // SAFETY: the same memory is at the same addresses as before.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
}
