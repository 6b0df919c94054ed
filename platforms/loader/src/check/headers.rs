//! The ELF header and the two tables that it points to.

use goblin::elf::section_header::SHT_NOBITS;
use goblin::elf64::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, Header};
use goblin::elf64::program_header::ProgramHeader;
use goblin::elf64::section_header::SectionHeader;
use plain::Plain;

use super::ImageError;
use crate::Machine;

/// What the loaders' parser wants all tables of 64-bit words to be aligned to, in bytes.
pub const TABLE_ALIGN: u64 = 8;

/// Views on an image's header tables.
pub struct Headers<'a> {
    pub image: &'a [u8],
    pub elf: &'a Header,
    pub segments: &'a [ProgramHeader],
    pub sections: &'a [SectionHeader],
}

impl<'a> Headers<'a> {
    /// Tells whether the image can lie anywhere (ET_DYN) or only at its own address (ET_EXEC).
    pub fn is_relocatable(&self) -> bool {
        self.elf.e_type == ET_DYN
    }

    /// Returns the program headers of one type, with their numbers.
    pub fn segments_of(&self, kind: u32) -> impl DoubleEndedIterator<Item = (usize, &'a ProgramHeader)> {
        self.segments.iter().enumerate().filter(move |(_, segment)| segment.p_type == kind)
    }

    /// Returns `length` bytes of the file from `offset` on.
    pub fn bytes(&self, part: &'static str, offset: u64, length: u64) -> Result<&'a [u8], ImageError> {
        bytes(self.image, part, offset, length)
    }

    /// Returns as many entries as `length` bytes of the file hold, from `offset` on.
    pub fn entries<T: Plain>(&self, part: &'static str, offset: u64, length: u64) -> Result<&'a [T], ImageError> {
        entries(self.image, part, offset, length)
    }

    /// Returns the symbols that relocations refer to by number: those of the first section of type `kind`.
    pub fn section_entries<T: Plain>(&self, part: &'static str, kind: u32) -> Result<&'a [T], ImageError> {
        debug_assert_ne!(kind, SHT_NOBITS, "such a section has no bytes in the file");
        self.sections
            .iter()
            .find(|section| section.sh_type == kind)
            .map_or(Ok(&[]), |section| self.entries(part, section.sh_offset, section.sh_size))
    }
}

/// Reads the ELF header and its tables.
pub fn read(image: &[u8], machine: Machine) -> Result<Headers<'_>, ImageError> {
    let magic = image.get(..ELFMAG.len());
    if magic.is_some_and(|magic| magic != ELFMAG) {
        return Err(ImageError::NotElf);
    }
    let elf = &entries::<Header>(image, "ELF header", 0, size_of::<Header>() as u64)?[0];
    check_identity(elf, machine)?;
    check_entry_size("program header table", elf.e_phentsize, size_of::<ProgramHeader>())?;
    if elf.e_shoff == 0 || elf.e_shnum == 0 {
        return Err(ImageError::NoSectionTable);
    }
    check_entry_size("section header table", elf.e_shentsize, size_of::<SectionHeader>())?;
    Ok(Headers {
        image,
        elf,
        segments: table(image, "program header table", elf.e_phoff, elf.e_phnum)?,
        sections: table(image, "section header table", elf.e_shoff, elf.e_shnum)?,
    })
}

fn check_identity(elf: &Header, machine: Machine) -> Result<(), ImageError> {
    if elf.e_ident[EI_CLASS] != ELFCLASS64 {
        return Err(ImageError::NotElf64);
    }
    if elf.e_ident[EI_DATA] != ELFDATA2LSB {
        return Err(ImageError::NotLittleEndian);
    }
    if elf.e_machine != machine.elf_machine() {
        return Err(ImageError::OtherMachine { found: elf.e_machine, expected: machine });
    }
    if !matches!(elf.e_type, ET_DYN | ET_EXEC) {
        return Err(ImageError::NotExecutable { found: elf.e_type });
    }
    Ok(())
}

fn check_entry_size(part: &'static str, found: u16, expected: usize) -> Result<(), ImageError> {
    if usize::from(found) == expected { Ok(()) } else { Err(ImageError::EntrySize { part, found }) }
}

fn table<'a, T: Plain>(image: &'a [u8], part: &'static str, offset: u64, count: u16) -> Result<&'a [T], ImageError> {
    entries(image, part, offset, u64::from(count) * size_of::<T>() as u64)
}

fn entries<'a, T: Plain>(image: &'a [u8], part: &'static str, offset: u64, length: u64) -> Result<&'a [T], ImageError> {
    let bytes = bytes(image, part, offset, length)?;
    // Alignment counts in memory; an image that starts at an odd address is as unreadable as an odd offset.
    let at = if offset.is_multiple_of(TABLE_ALIGN) { bytes.as_ptr().addr() as u64 } else { offset };
    plain::slice_from_bytes(bytes).map_err(|_| ImageError::Misaligned { part, at, align: TABLE_ALIGN })
}

fn bytes<'a>(image: &'a [u8], part: &'static str, offset: u64, length: u64) -> Result<&'a [u8], ImageError> {
    let end = offset.saturating_add(length);
    let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
    range.and_then(|(start, end)| image.get(start..end)).ok_or(ImageError::Truncated {
        part,
        end,
        length: image.len() as u64,
    })
}
