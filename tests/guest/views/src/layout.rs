//! What user mode may do with a page of the kernel's view: by the image's layout, as the linker left it.
//!
//! Read here once more, apart from what the kernel makes the user's view of: headers and symbols.
#![expect(unsafe_code, reason = "reads the image's headers")]

use alloc::vec::Vec;
use core::ops::Range;

use crate::PAGE_BYTES;

unsafe extern "C" {
    /// The image's ELF header, in its first segment. The linker defines it, and what is below.
    #[link_name = "__ehdr_start"]
    static HEADER: [u8; 64];
    /// The code of the entries and exits.
    #[link_name = "__start_ebbtide_entry"]
    static ENTRIES: u8;
    #[link_name = "__stop_ebbtide_entry"]
    static ENTRIES_END: u8;
}

/// What user mode may do with a page, besides nothing: write it never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    pub read: bool,
    pub jump: bool,
}

/// The image, by what user mode may do with its parts.
pub struct Layout {
    text: Vec<Range<u64>>,
    constants: Vec<Range<u64>>,
    entries: Range<u64>,
}

impl Layout {
    /// Reads the headers.
    pub fn new() -> Self {
        const LOADED: u32 = 1;
        const RELOCATED: u32 = 0x6474_e552;
        const EXECUTE: u32 = 1;
        const WRITE: u32 = 2;
        let (mut text, mut constants) = (Vec::new(), Vec::new());
        for number in 0..usize::from(half(56)) {
            let header = word(32) as usize + number * usize::from(half(54));
            let (kind, flags) = (word(header) as u32, (word(header) >> 32) as u32);
            let start = base() + word(header + 16);
            let range = start / PAGE_BYTES * PAGE_BYTES..start + word(header + 40);
            match kind {
                LOADED if flags & EXECUTE != 0 => text.push(range),
                LOADED if flags & WRITE == 0 => constants.push(range),
                // Whole pages, whatever the linker says: what lies behind is written.
                RELOCATED => constants.push(range.start..range.end / PAGE_BYTES * PAGE_BYTES),
                _ => {}
            }
        }
        let entries = (&raw const ENTRIES).addr() as u64..(&raw const ENTRIES_END).addr() as u64;
        Self { text, constants, entries }
    }

    /// What user mode may do with the page from `page` on.
    pub fn grants(&self, page: u64) -> Granted {
        let overlaps = |range: &Range<u64>| range.start < page + PAGE_BYTES && page < range.end;
        if overlaps(&self.entries) {
            return Granted::default();
        }
        let jump = self.text.iter().any(overlaps);
        Granted { read: jump || self.constants.iter().any(overlaps), jump }
    }
}

/// Where the image lies: what its addresses count from, 0 if it is linked where it lies.
fn base() -> u64 {
    const FIXED: u16 = 2;
    if half(16) == FIXED { 0 } else { (&raw const HEADER).expose_provenance() as u64 }
}

fn half(offset: usize) -> u16 {
    word(offset) as u16
}

/// Eight bytes of the first segment, so many bytes behind the ELF header's first.
fn word(offset: usize) -> u64 {
    let start = (&raw const HEADER).expose_provenance();
    let word = core::ptr::with_exposed_provenance::<u64>(start + offset);
    // SAFETY: the headers lie in one segment, which stays where it is.
    unsafe { word.read_unaligned() }
}
