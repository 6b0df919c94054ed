//! The segments: what is copied where, how much memory it takes, and where execution starts.

use goblin::elf64::program_header::{PF_X, PT_LOAD, PT_TLS, ProgramHeader};

use super::headers::Headers;
use super::{ImageError, MAX_ADDRESS, MAX_IMAGE_BYTES};

/// What only 4 KiB pages can give a kernel that is loaded anywhere.
const PAGE_BYTES: u64 = 4096;

/// The memory that an image takes.
pub struct Memory {
    /// The first segment's address in the file: 0 for an image that can lie anywhere.
    pub start: u64,
    /// From the first segment's start to the last one's end.
    pub bytes: u64,
}

/// Checks all segments and the entry point.
pub fn check(headers: &Headers<'_>) -> Result<Memory, ImageError> {
    let (_, first) = headers.segments_of(PT_LOAD).next().ok_or(ImageError::NoSegment)?;
    let start = first.p_vaddr;
    if headers.is_relocatable() && start != 0 {
        return Err(ImageError::NotAtZero { start });
    }
    if !start.is_multiple_of(PAGE_BYTES) {
        return Err(ImageError::Misaligned { part: "first segment", at: start, align: PAGE_BYTES });
    }

    let mut end = start;
    for (number, segment) in headers.segments_of(PT_LOAD) {
        end = check_one(headers, number, segment, end)?;
        if end - start > MAX_IMAGE_BYTES {
            return Err(ImageError::TooLarge { end });
        }
    }
    for (number, segment) in headers.segments_of(PT_TLS) {
        check_one(headers, number, segment, 0)?;
    }
    check_entry(headers)?;
    Ok(Memory { start, bytes: end - start })
}

/// Checks one segment that must not start below `lowest`, and returns where it ends in memory.
fn check_one(headers: &Headers<'_>, number: usize, segment: &ProgramHeader, lowest: u64) -> Result<u64, ImageError> {
    headers.bytes("segment data", segment.p_offset, segment.p_filesz)?;
    if segment.p_filesz > segment.p_memsz {
        return Err(ImageError::FileExceedsMemory { segment: number });
    }
    if segment.p_vaddr < lowest {
        return Err(ImageError::SegmentOrder { segment: number });
    }
    let end = segment.p_vaddr.saturating_add(segment.p_memsz);
    if end > MAX_ADDRESS {
        return Err(ImageError::TooLarge { end });
    }
    Ok(end)
}

fn check_entry(headers: &Headers<'_>) -> Result<(), ImageError> {
    let address = headers.elf.e_entry;
    let inside = headers.segments_of(PT_LOAD).any(|(_, segment)| {
        let offset = address.checked_sub(segment.p_vaddr);
        segment.p_flags & PF_X != 0 && offset.is_some_and(|offset| offset < segment.p_filesz)
    });
    if inside { Ok(()) } else { Err(ImageError::Entry { address }) }
}
