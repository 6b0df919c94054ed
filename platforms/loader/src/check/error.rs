//! Why an image is refused, in words for people.

use core::fmt;

use super::{MAX_ADDRESS, MAX_IMAGE_BYTES};
use crate::Machine;

/// Why an image is refused: what is wrong, where, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The file ends before the part that is named.
    Truncated {
        /// The part that should be there.
        part: &'static str,
        /// Where this part would end, in bytes from the file's start.
        end: u64,
        /// The file's length in bytes.
        length: u64,
    },
    /// The file was sealed, and is not what was sealed.
    Seal,
    /// The file does not start as an ELF file does.
    NotElf,
    /// The file is for another word size than 64 bits.
    NotElf64,
    /// The file is not little-endian.
    NotLittleEndian,
    /// The file is for another machine.
    OtherMachine {
        /// `e_machine` of the file.
        found: u16,
        /// The machine that was asked for.
        expected: Machine,
    },
    /// The file is neither ET_DYN nor ET_EXEC.
    NotExecutable {
        /// `e_type` of the file.
        found: u16,
    },
    /// The entries of a header table have another size than ELF64 gives them.
    EntrySize {
        /// The table.
        part: &'static str,
        /// The size that the file names, in bytes.
        found: u16,
    },
    /// A part does not start at a multiple of its alignment, in the file or in memory.
    Misaligned {
        /// The part.
        part: &'static str,
        /// The offset or address at which it starts.
        at: u64,
        /// What this should be a multiple of.
        align: u64,
    },
    /// There is no section header table.
    NoSectionTable,
    /// There is nothing to load.
    NoSegment,
    /// A segment keeps more bytes in the file than it has in memory.
    FileExceedsMemory {
        /// The segment's number among all program headers.
        segment: usize,
    },
    /// A segment starts before the end of the one before it.
    SegmentOrder {
        /// The segment's number among all program headers.
        segment: usize,
    },
    /// An ET_DYN image does not start at address 0.
    NotAtZero {
        /// Where it starts.
        start: u64,
    },
    /// The image needs more memory than any sensible kernel, or lies at an impossible address.
    TooLarge {
        /// The first address behind the image.
        end: u64,
    },
    /// The entry point lies in no executable segment.
    Entry {
        /// The entry point's address in the file.
        address: u64,
    },
    /// There is no PT_NOTE segment.
    NoNotes,
    /// The first PT_NOTE segment has another alignment than 4.
    NoteAlign {
        /// The alignment that the file names, in bytes.
        found: u64,
    },
    /// A note's sizes or its name make no sense.
    BadNote {
        /// Where it starts, in bytes from the file's start.
        at: u64,
    },
    /// The first PT_NOTE segment has no HERMIT note.
    NoEntryVersion {
        /// Whether a later PT_NOTE segment has it, where loaders do not look.
        later: bool,
    },
    /// The image wants another version of the Hermit entry interface.
    EntryVersion {
        /// The version that the image names.
        found: u8,
    },
    /// The image wants shared libraries.
    Needed,
    /// There are relocations in a form that loaders do not apply.
    RelocationForm {
        /// The form's name.
        form: &'static str,
    },
    /// A relocation is of a kind that loaders do not know.
    RelocationKind {
        /// The relocation's number.
        index: usize,
        /// Its type, as the ELF supplement of the machine numbers them.
        kind: u32,
    },
    /// A relocation writes outside of the image.
    RelocationTarget {
        /// The relocation's number.
        index: usize,
        /// The offset in the image that it writes to.
        target: u64,
    },
    /// A relocation's symbol is not in the image.
    RelocationSymbol {
        /// The relocation's number.
        index: usize,
        /// The symbol's number.
        symbol: u32,
    },
    /// A relocation's value is out of any range.
    RelocationValue {
        /// The relocation's number.
        index: usize,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { part, end, length } => write!(
                f,
                "the file is cut off: its {part} should end at byte {end}, but the file has {length}; build it again"
            ),
            Self::Seal => f.write_str("the image was damaged or cut off after it was built; build it again"),
            Self::NotElf => f.write_str("this is no ELF file; give a kernel ELF such as NAME.hermit"),
            Self::NotElf64 => f.write_str("this ELF file is not for 64 bits; build the kernel for a 64-bit target"),
            Self::NotLittleEndian => {
                f.write_str("this ELF file is not little-endian; build the kernel for a little-endian target")
            }
            Self::OtherMachine { found, expected } => {
                match Machine::from_elf(found) {
                    Some(found) => write!(f, "this ELF file is for {found}, not for {expected}")?,
                    None => write!(f, "this ELF file is for machine number {found}, not for {expected}")?,
                }
                write!(f, "; build it for {expected}, or choose its own --arch")
            }
            Self::NotExecutable { found } => write!(
                f,
                "this ELF file has type {found}: neither an executable nor a position-independent one; link the kernel first"
            ),
            Self::EntrySize { part, found } => {
                write!(f, "the entries of the {part} claim {found} bytes each; the file is damaged: build it again")
            }
            Self::Misaligned { part, at, align } => write!(
                f,
                "the {part} lies at {at:#x}, which is no multiple of {align}; link the kernel so that it does"
            ),
            Self::NoSectionTable => f.write_str(
                "there is no section header table, which Hermit loaders read; strip the kernel without removing it",
            ),
            Self::NoSegment => {
                f.write_str("there is no PT_LOAD segment, so nothing to load; link the kernel as an executable")
            }
            Self::FileExceedsMemory { segment } => write!(
                f,
                "segment {segment} has more bytes in the file than in memory; the file is damaged: build it again"
            ),
            Self::SegmentOrder { segment } => write!(
                f,
                "segment {segment} starts before the end of the one before it; link the kernel with ascending segments"
            ),
            Self::NotAtZero { start } => write!(
                f,
                "this position-independent kernel starts at {start:#x} instead of 0, where Hermit loaders expect it; link it at 0"
            ),
            Self::TooLarge { end } => write!(
                f,
                "the image ends at {end:#x}: more than {MAX_IMAGE_BYTES:#x} bytes, or beyond {MAX_ADDRESS:#x}; \
                 the file is damaged, or a static is far too large"
            ),
            Self::Entry { address } => write!(
                f,
                "the entry point {address:#x} lies in no executable segment; link the kernel with its _start as entry"
            ),
            Self::NoNotes => {
                f.write_str("there is no PT_NOTE segment, so this is no Hermit image; use `ebbtide::main!`")
            }
            Self::NoteAlign { found } => write!(
                f,
                "the first PT_NOTE segment has alignment {found} instead of 4, so loaders misread it; \
                 link the HERMIT note in a segment of its own"
            ),
            Self::BadNote { at } => {
                write!(f, "the note at byte {at:#x} of the file is malformed; the file is damaged: build it again")
            }
            Self::NoEntryVersion { later: false } => f.write_str(
                "there is no HERMIT note with the entry version, so this is no Hermit image; use `ebbtide::main!`",
            ),
            Self::NoEntryVersion { later: true } => f.write_str(
                "the HERMIT note is not in the first PT_NOTE segment, the only one that loaders read; link it there",
            ),
            Self::EntryVersion { found } => write!(
                f,
                "the image wants version {found} of the Hermit entry interface, and this loader has version {}; \
                 build both from the same release",
                super::notes::ENTRY_VERSION
            ),
            Self::Needed => {
                f.write_str("the image wants shared libraries, which a unikernel has not; link it statically")
            }
            Self::RelocationForm { form } => {
                write!(f, "the image has {form} relocations, which Hermit loaders do not apply; link it without them")
            }
            Self::RelocationKind { index, kind } => write!(
                f,
                "relocation {index} is of type {kind}, which Hermit loaders do not know (RELATIVE, ABS64, GLOB_DAT only)"
            ),
            Self::RelocationTarget { index, target } => write!(
                f,
                "relocation {index} writes to {target:#x}, outside of the image; the file is damaged: build it again"
            ),
            Self::RelocationSymbol { index, symbol } => write!(
                f,
                "relocation {index} wants symbol {symbol}, which the image does not define; link what defines it"
            ),
            Self::RelocationValue { index } => {
                write!(f, "relocation {index} has a value that no image can have; the file is damaged: build it again")
            }
        }
    }
}

impl core::error::Error for ImageError {}
