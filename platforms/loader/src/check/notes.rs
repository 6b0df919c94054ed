//! The notes: the version of the Hermit entry interface that an image was built for.

use core::str;

use goblin::elf::note::Nhdr32;
use goblin::elf64::program_header::{PT_NOTE, ProgramHeader};

use super::ImageError;
use super::headers::Headers;

/// The version of the entry interface that this loader speaks (hermit-entry 0.10).
pub const ENTRY_VERSION: u8 = 4;

const ENTRY_VERSION_NAME: &str = "HERMIT";
const ENTRY_VERSION_TYPE: u32 = 0x5a00;

/// Notes are made of 32-bit words; with another alignment the loaders' parser misreads them.
const NOTE_ALIGN: usize = 4;

/// Checks every note of the first PT_NOTE segment, and the version that is named there.
pub fn check(headers: &Headers<'_>) -> Result<(), ImageError> {
    let mut note_segments = headers.segments_of(PT_NOTE).map(|(_, segment)| segment);
    let first = note_segments.next().ok_or(ImageError::NoNotes)?;
    let version = entry_version(headers, first)?;
    let Some(found) = version else {
        let later = note_segments.any(|segment| matches!(entry_version(headers, segment), Ok(Some(_))));
        return Err(ImageError::NoEntryVersion { later });
    };
    if found == ENTRY_VERSION { Ok(()) } else { Err(ImageError::EntryVersion { found }) }
}

/// Reads all notes of a segment and returns the first entry version among them.
///
/// The parser looks for other notes as well and so reads on to the segment's end: all of them must be in order.
fn entry_version(headers: &Headers<'_>, segment: &ProgramHeader) -> Result<Option<u8>, ImageError> {
    let start = segment.p_offset;
    let bytes = headers.bytes("notes", start, segment.p_filesz)?;
    if segment.p_align != NOTE_ALIGN as u64 {
        return Err(ImageError::NoteAlign { found: segment.p_align });
    }
    if !bytes.as_ptr().addr().is_multiple_of(NOTE_ALIGN) {
        return Err(ImageError::Misaligned { part: "note segment", at: start, align: NOTE_ALIGN as u64 });
    }

    let mut version = None;
    let mut rest = bytes;
    while let Ok(header) = plain::from_bytes::<Nhdr32>(rest) {
        let at = start + (bytes.len() - rest.len()) as u64;
        let (name, description, next) = split(header, rest).ok_or(ImageError::BadNote { at })?;
        if version.is_none() && name == ENTRY_VERSION_NAME && header.n_type == ENTRY_VERSION_TYPE {
            version = Some(*description.first().ok_or(ImageError::BadNote { at })?);
        }
        rest = next;
    }
    Ok(version)
}

/// Splits the first of `notes` into its name (without the zero at its end), its description, and the notes behind it.
fn split<'a>(header: &Nhdr32, notes: &'a [u8]) -> Option<(&'a str, &'a [u8], &'a [u8])> {
    let name_start = size_of::<Nhdr32>();
    let name_end = name_start.checked_add(header.n_namesz as usize)?;
    let name = notes.get(name_start..name_end.checked_sub(1)?)?;
    let description_start = name_end.checked_next_multiple_of(NOTE_ALIGN)?;
    let description_end = description_start.checked_add(header.n_descsz as usize)?;
    let description = notes.get(description_start..description_end)?;
    let next = notes.get(description_end.checked_next_multiple_of(NOTE_ALIGN)?..)?;
    Some((str::from_utf8(name).ok()?, description, next))
}
