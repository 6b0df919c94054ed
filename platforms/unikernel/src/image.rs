//! The image's segments, from its own program headers: what may be written, and what may be executed.
#![expect(unsafe_code, reason = "reads the headers that the loader put into memory")]

use core::ops::Range;

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::{Access, PAGE_BYTES};
use ebbtide_core::memory::Segment;
use ebbtide_core::memory::space::Segments;
use goblin::elf64::header::Header;
use goblin::elf64::program_header::{PF_W, PF_X, PT_GNU_RELRO, PT_LOAD, ProgramHeader};

unsafe extern "C" {
    /// The ELF header, at the start of the first segment; the linker defines it.
    #[link_name = "__ehdr_start"]
    static HEADER: Header;
}

/// The segments of the running image, in whole pages. The boot stack's guard is left out of them.
pub(crate) fn segments() -> Segments {
    let guard = ebbtide_hermit::boot_stack_guard();
    let guard = guard.start.as_u64()..guard.end.as_u64();
    let mut segments = Segments::new();
    // Relocations are done, so what was only written for them is read-only from here on.
    let relro = headers().iter().find(|header| header.p_type == PT_GNU_RELRO).map_or(0..0, addresses);
    for header in headers().iter().filter(|header| header.p_type == PT_LOAD) {
        let range = addresses(header);
        if header.p_flags & PF_X != 0 {
            push(&mut segments, range, Access::Execute);
        } else if header.p_flags & PF_W == 0 {
            push(&mut segments, range, Access::ReadOnly);
        } else {
            let [before, inside, after] = cut(range, &relro);
            push(&mut segments, inside, Access::ReadOnly);
            for part in [before, after] {
                let [before, _, after] = cut(part, &guard);
                push(&mut segments, before, Access::ReadWrite);
                push(&mut segments, after, Access::ReadWrite);
            }
        }
    }
    segments
}

/// What of `range` lies before, inside and behind `part`.
fn cut(range: Range<u64>, part: &Range<u64>) -> [Range<u64>; 3] {
    let start = part.start.clamp(range.start, range.end);
    let end = part.end.clamp(range.start, range.end);
    [range.start..start, start..end, end..range.end]
}

fn push(segments: &mut Segments, range: Range<u64>, access: Access) {
    if !range.is_empty() {
        let range = PhysAddr::new(range.start)..PhysAddr::new(range.end);
        let pushed = segments.push(Segment { range, access });
        assert!(pushed.is_ok(), "an image has a handful of segments");
    }
}

fn headers() -> &'static [ProgramHeader] {
    // SAFETY: the loader loaded the ELF header with the first segment.
    let header = unsafe { &HEADER };
    let base = core::ptr::from_ref(header).addr() + header.e_phoff as usize;
    // SAFETY: the program headers follow the ELF header in the same segment, which stays where it is.
    unsafe { ProgramHeader::from_raw_parts(core::ptr::with_exposed_provenance(base), header.e_phnum.into()) }
}

/// The addresses of a segment, in whole pages.
fn addresses(header: &ProgramHeader) -> Range<u64> {
    // SAFETY: the address of a static.
    let base = unsafe { core::ptr::from_ref(&HEADER) }.expose_provenance() as u64;
    // A fixed image is linked at the address where it lies.
    let base = if headers_are_absolute() { 0 } else { base };
    let start = base + header.p_vaddr;
    let end = start + header.p_memsz;
    start / PAGE_BYTES * PAGE_BYTES..end.next_multiple_of(PAGE_BYTES)
}

fn headers_are_absolute() -> bool {
    // SAFETY: the loader loaded the ELF header with the first segment.
    unsafe { HEADER.e_type == goblin::elf64::header::ET_EXEC }
}
