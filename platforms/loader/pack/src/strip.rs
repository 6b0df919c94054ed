//! Leaves out of a kernel ELF what nobody needs to load it: symbols, debug information, comments.
//!
//! What segments hold stays where it is in the file, so that every offset in it remains true and no byte of padding is
//! added. Behind it comes a new section header table. Loaders want one (they look for the dynamic symbols there), and
//! sections keep their numbers, since symbols refer to them.

use ebbtide_loader::check::{ImageError, check};
use ebbtide_loader::{Machine, seal};
use object::elf::{
    ELFOSABI_STANDALONE, FileHeader64, PT_DYNAMIC, PT_LOAD, PT_NOTE, PT_TLS, ProgramHeader64, SHF_ALLOC, SHT_NOBITS,
    SHT_STRTAB, SectionHeader64,
};
use object::{LittleEndian, U16, U32, U64, pod};

use crate::LITTLE;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;
type Section = SectionHeader64<LittleEndian>;

/// Alignment of the section header table, in bytes: loaders insist on it.
const TABLE_ALIGN: usize = 8;

const NAMES: &[u8] = b".shstrtab";

/// Checks a kernel ELF and returns the Hermit image in it: the same kernel without what only a debugger reads, sealed.
///
/// # Errors
///
/// What is wrong with the kernel.
pub fn strip(kernel: &[u8], machine: Machine) -> Result<Vec<u8>, ImageError> {
    seal::verify(kernel)?;
    check(kernel, machine)?;
    let (header, segments, sections) = tables(kernel);

    let mut image = kernel[..loaded_end(header, segments)].to_vec();
    let mut names = vec![0];
    let kept = sections.iter().rposition(is_loaded).map_or(1, |last| last + 1);
    let mut table: Vec<Section> = sections[..kept]
        .iter()
        .map(|section| kept_section(section, name(kernel, header, sections, section), &mut names))
        .collect();
    table.push(names_section(image.len(), &mut names));

    image.extend_from_slice(&names);
    image.resize(image.len().next_multiple_of(TABLE_ALIGN), 0);
    let offset = image.len();
    image.extend_from_slice(pod::bytes_of_slice(&table));
    write_header(&mut image, *header, offset, table.len());
    seal::mark(&mut image);
    let seal = seal::seal(&image);
    image.extend_from_slice(&seal);

    check(&image, machine)?;
    Ok(image)
}

/// The header and its tables; the check went over all of them.
fn tables(kernel: &[u8]) -> (&Header, &[Segment], &[Section]) {
    const CHECKED: &str = "the check read it";
    let (header, _) = pod::from_bytes::<Header>(kernel).expect(CHECKED);
    let at = |offset: U64<LittleEndian>| &kernel[offset.get(LITTLE) as usize..];
    let segments = pod::slice_from_bytes(at(header.e_phoff), header.e_phnum.get(LITTLE).into());
    let sections = pod::slice_from_bytes(at(header.e_shoff), header.e_shnum.get(LITTLE).into());
    (header, segments.expect(CHECKED).0, sections.expect(CHECKED).0)
}

/// Where the last byte ends that a loader reads.
fn loaded_end(header: &Header, segments: &[Segment]) -> usize {
    let table_end = header.e_phoff.get(LITTLE) as usize + size_of_val(segments);
    let ends = segments
        .iter()
        .filter(|segment| [PT_LOAD, PT_NOTE, PT_DYNAMIC, PT_TLS].contains(&segment.p_type.get(LITTLE)))
        .map(|segment| (segment.p_offset.get(LITTLE) + segment.p_filesz.get(LITTLE)) as usize);
    ends.fold(table_end, usize::max)
}

fn is_loaded(section: &Section) -> bool {
    section.sh_flags.get(LITTLE) & u64::from(SHF_ALLOC) != 0
}

/// A section that stays: itself with its name's new place, or an empty entry in place of one that is left out.
fn kept_section(section: &Section, name: &[u8], names: &mut Vec<u8>) -> Section {
    if !is_loaded(section) {
        return *pod::from_bytes(&[0; size_of::<Section>()]).map_or(section, |(empty, _)| empty);
    }
    Section { sh_name: U32::new(LITTLE, add_name(names, name)), ..*section }
}

fn add_name(names: &mut Vec<u8>, name: &[u8]) -> u32 {
    let at = names.len() as u32;
    names.extend_from_slice(name);
    names.push(0);
    at
}

/// A section's name, empty where the file has none that makes sense: nothing depends on names.
fn name<'a>(kernel: &'a [u8], header: &Header, sections: &[Section], section: &Section) -> &'a [u8] {
    let find = || {
        let strings = sections.get(usize::from(header.e_shstrndx.get(LITTLE)))?;
        if strings.sh_type.get(LITTLE) == SHT_NOBITS {
            return None;
        }
        let start = strings.sh_offset.get(LITTLE).checked_add(section.sh_name.get(LITTLE).into())?;
        let rest = kernel.get(usize::try_from(start).ok()?..)?;
        rest.split(|byte| *byte == 0).next()
    };
    find().unwrap_or_default()
}

/// The section of the names themselves, which lies at `offset`.
fn names_section(offset: usize, names: &mut Vec<u8>) -> Section {
    let own = add_name(names, NAMES);
    let zero = U64::new(LITTLE, 0);
    Section {
        sh_name: U32::new(LITTLE, own),
        sh_type: U32::new(LITTLE, SHT_STRTAB),
        sh_flags: zero,
        sh_addr: zero,
        sh_offset: U64::new(LITTLE, offset as u64),
        sh_size: U64::new(LITTLE, names.len() as u64),
        sh_link: U32::new(LITTLE, 0),
        sh_info: U32::new(LITTLE, 0),
        sh_addralign: U64::new(LITTLE, 1),
        sh_entsize: zero,
    }
}

/// Writes the header that names the new table of `sections` entries, and Hermit as what the image is for.
fn write_header(image: &mut [u8], mut header: Header, table: usize, sections: usize) {
    header.e_ident.os_abi = ELFOSABI_STANDALONE;
    header.e_shoff = U64::new(LITTLE, table as u64);
    header.e_shnum = U16::new(LITTLE, sections as u16);
    header.e_shstrndx = U16::new(LITTLE, sections as u16 - 1);
    let bytes = pod::bytes_of(&header);
    image[..bytes.len()].copy_from_slice(bytes);
}
