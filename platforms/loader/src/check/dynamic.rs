//! The dynamic section and the relocations that it names.

use goblin::elf::section_header::{SHN_UNDEF, SHT_DYNSYM};
use goblin::elf::sym::{STB_WEAK, st_bind};
use goblin::elf64::dynamic::{DT_NEEDED, DT_PLTRELSZ, DT_RELA, DT_RELASZ, DT_RELCOUNT, DT_RELSZ, Dyn};
use goblin::elf64::program_header::{PT_DYNAMIC, PT_LOAD};
use goblin::elf64::reloc::{Rela, r_sym, r_type};
use goblin::elf64::sym::Sym;

use super::headers::Headers;
use super::segments::Memory;
use super::{ImageError, MAX_ADDRESS};
use crate::machine::{Machine, Relocation};

/// Size of the table of relative relocations in their packed form.
const DT_RELRSZ: u64 = 35;

/// What every relocation writes: one word.
const WORD_BYTES: u64 = 8;

/// Checks the dynamic section, if there is one, and every relocation.
pub fn check(headers: &Headers<'_>, memory: &Memory, machine: Machine) -> Result<(), ImageError> {
    let symbols = headers.section_entries::<Sym>("dynamic symbol table", SHT_DYNSYM)?;
    let Some((_, segment)) = headers.segments_of(PT_DYNAMIC).next() else {
        return Ok(());
    };
    let entries = headers.entries::<Dyn>("dynamic section", segment.p_offset, segment.p_filesz)?;
    let relocations = relocations(headers, entries)?;
    let check = Relocations { headers, memory, machine, symbols, all: relocations };
    relocations.iter().enumerate().try_for_each(|(index, relocation)| check.one(index, relocation))
}

/// Finds the table of relocations as goblin does: the last entry of a kind counts, and nothing ends at DT_NULL.
fn relocations<'a>(headers: &Headers<'a>, entries: &[Dyn]) -> Result<&'a [Rela], ImageError> {
    let (mut address, mut bytes) = (0, 0);
    for entry in entries {
        match (entry.d_tag, entry.d_val) {
            (DT_NEEDED, _) => return Err(ImageError::Needed),
            (DT_RELA, value) => address = value,
            (DT_RELASZ, value) => bytes = value,
            (DT_RELCOUNT | DT_RELSZ, 1..) => {
                return Err(ImageError::RelocationForm { form: "REL" });
            }
            (DT_RELRSZ, 1..) => return Err(ImageError::RelocationForm { form: "RELR" }),
            (DT_PLTRELSZ, 1..) => return Err(ImageError::RelocationForm { form: "PLT" }),
            _ => {}
        }
    }
    let offset = file_offset(headers, address).unwrap_or(0);
    let relocations = headers.entries("relocation table", offset, bytes)?;
    if !headers.is_relocatable() && !relocations.is_empty() {
        return Err(ImageError::RelocationForm { form: "fixed-address (ET_EXEC)" });
    }
    Ok(relocations)
}

/// Translates an address in the image to an offset in the file.
fn file_offset(headers: &Headers<'_>, address: u64) -> Option<u64> {
    headers.segments_of(PT_LOAD).find_map(|(_, segment)| {
        let offset = address.checked_sub(segment.p_vaddr)?;
        (offset < segment.p_memsz).then(|| segment.p_offset.checked_add(offset))?
    })
}

struct Relocations<'a> {
    headers: &'a Headers<'a>,
    memory: &'a Memory,
    machine: Machine,
    symbols: &'a [Sym],
    all: &'a [Rela],
}

impl Relocations<'_> {
    fn one(&self, index: usize, relocation: &Rela) -> Result<(), ImageError> {
        let target = relocation.r_offset;
        let end = target.checked_add(WORD_BYTES);
        if end.is_none_or(|end| end > self.memory.bytes) {
            return Err(ImageError::RelocationTarget { index, target });
        }
        if relocation.r_addend.unsigned_abs() >= MAX_ADDRESS {
            return Err(ImageError::RelocationValue { index });
        }
        let kind = r_type(relocation.r_info);
        match self.machine.relocation(kind) {
            Some(Relocation::Relative) => Ok(()),
            Some(Relocation::Absolute) => self.symbol(index, relocation),
            Some(Relocation::GlobalData) if relocation.r_addend != 0 => Err(ImageError::RelocationValue { index }),
            Some(Relocation::GlobalData) => self.symbol(index, relocation),
            None => Err(ImageError::RelocationKind { index, kind }),
        }
    }

    fn symbol(&self, index: usize, relocation: &Rela) -> Result<(), ImageError> {
        let number = r_sym(relocation.r_info);
        let error = ImageError::RelocationSymbol { index, symbol: number };
        let symbol = self.symbols.get(number as usize).ok_or(error)?;
        if symbol.st_value >= MAX_ADDRESS {
            return Err(ImageError::RelocationValue { index });
        }
        if u32::from(symbol.st_shndx) != SHN_UNDEF {
            return Ok(());
        }
        // An undefined weak symbol stays 0, and the loader insists that a 0 is there already.
        if st_bind(symbol.st_info) == STB_WEAK && self.stays_zero(index, relocation.r_offset) {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Tells whether the word at `target` is 0 in the image, and no other relocation writes there.
    fn stays_zero(&self, index: usize, target: u64) -> bool {
        let zero_in_file = (target..target + WORD_BYTES).all(|address| self.file_byte(address) == 0);
        let near = |other: &Rela| other.r_offset.abs_diff(target) < WORD_BYTES;
        zero_in_file && self.all.iter().take(index).all(|other| !near(other))
    }

    /// The byte that the file puts at `address`: 0 where it puts none.
    fn file_byte(&self, address: u64) -> u8 {
        let found = self.headers.segments_of(PT_LOAD).find_map(|(_, segment)| {
            let offset = address.checked_sub(segment.p_vaddr)?;
            (offset < segment.p_filesz).then(|| self.headers.image[(segment.p_offset + offset) as usize])
        });
        found.unwrap_or(0)
    }
}
