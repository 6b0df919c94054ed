//! One image for each reason to refuse one.

mod support;

use ebbtide_loader::Machine;
use ebbtide_loader::check::{Checked, ImageError, check};
use object::elf::*;
use support::*;

/// Checks an image with one change, made to its parts before they are laid out.
fn parts(change: impl FnOnce(&mut Image)) -> Result<Checked, ImageError> {
    let mut image = Image::good();
    change(&mut image);
    check(Aligned::new(&image.build(|_| ())).bytes(), machine())
}

/// Checks an image with one change, made after its parts were laid out.
fn laid_out(change: impl FnOnce(&mut Image)) -> Result<Checked, ImageError> {
    check(Aligned::new(&Image::good().build(change)).bytes(), machine())
}

#[track_caller]
fn assert_refused(result: Result<Checked, ImageError>, expected: ImageError) {
    assert_eq!(result, Err(expected));
    let text = expected.to_string();
    assert!(!text.contains('\n') && text.len() > 30, "{text}");
}

#[test]
fn other_files() {
    let bytes = |bytes: &[u8]| check(Aligned::new(bytes).bytes(), machine());
    assert_refused(bytes(&[7; 4000]), ImageError::NotElf);
    assert_refused(bytes(b"#!/bin/sh\n"), ImageError::NotElf);
    let end = size_of::<FileHeader64<object::LittleEndian>>() as u64;
    assert_refused(bytes(b""), ImageError::Truncated { part: "ELF header", end, length: 0 });
    assert_refused(laid_out(|image| image.header.e_ident.class = ELFCLASS32), ImageError::NotElf64);
    assert_refused(laid_out(|image| image.header.e_ident.data = ELFDATA2MSB), ImageError::NotLittleEndian);
    assert_refused(laid_out(|image| image.header.e_type = u16(ET_REL)), ImageError::NotExecutable { found: ET_REL });
}

#[test]
fn other_machines() {
    for (expected, found) in [(Machine::X86_64, EM_AARCH64), (Machine::Aarch64, EM_X86_64), (Machine::X86_64, EM_RISCV)]
    {
        let file = Image::good().build(|image| image.header.e_machine = u16(found));
        assert_refused(check(Aligned::new(&file).bytes(), expected), ImageError::OtherMachine { found, expected });
    }
}

#[test]
fn cut_files() {
    let file = good_file();
    let cut = Aligned::new(&file[..file.len() - 1]);
    let (end, length) = (file.len() as u64, file.len() as u64 - 1);
    let part = "section header table";
    assert_refused(check(cut.bytes(), machine()), ImageError::Truncated { part, end, length });
    let refused = laid_out(|image| image.segments[CODE].p_offset = u64(1 << 40)).unwrap_err();
    assert!(matches!(refused, ImageError::Truncated { part: "segment data", .. }));
}

#[test]
fn header_tables() {
    let size = |part, found| ImageError::EntrySize { part, found };
    assert_refused(laid_out(|image| image.header.e_phentsize = u16(32)), size("program header table", 32));
    assert_refused(laid_out(|image| image.header.e_shentsize = u16(40)), size("section header table", 40));
    assert_refused(laid_out(|image| image.header.e_shoff = u64(0)), ImageError::NoSectionTable);
    assert_refused(laid_out(|image| image.header.e_shnum = u16(0)), ImageError::NoSectionTable);
    let misaligned = |part, at| ImageError::Misaligned { part, at, align: 8 };
    assert_refused(laid_out(|image| image.header.e_phoff = u64(65)), misaligned("program header table", 65));
    let table = "dynamic symbol table";
    assert_refused(laid_out(|image| image.sections[1].sh_offset = u64(68)), misaligned(table, 68));
    let part = "dynamic section";
    assert_refused(laid_out(|image| image.segments[DYNAMIC].p_offset = u64(68)), misaligned(part, 68));
}

#[test]
fn an_image_at_an_odd_address() {
    let file = Aligned::new(&[&[0; 1], &good_file()[..]].concat());
    let refused = check(&file.bytes()[1..], machine()).unwrap_err();
    assert!(matches!(refused, ImageError::Misaligned { align: 8, .. }));
}

#[test]
fn segments() {
    let load_nothing =
        |image: &mut Image| image.segments.iter_mut().take(3).for_each(|segment| segment.p_type = u32(PT_NULL));
    assert_refused(laid_out(load_nothing), ImageError::NoSegment);
    assert_refused(
        laid_out(|image| image.segments[DATA].p_memsz = u64(63)),
        ImageError::FileExceedsMemory { segment: DATA },
    );
    assert_refused(
        laid_out(|image| image.segments[CODE].p_vaddr = u64(0x100)),
        ImageError::SegmentOrder { segment: CODE },
    );
    assert_refused(
        laid_out(|image| image.segments[READ_ONLY].p_vaddr = u64(0x1000)),
        ImageError::NotAtZero { start: 0x1000 },
    );
    let fixed = |start| {
        laid_out(move |image| {
            image.header.e_type = u16(ET_EXEC);
            image.segments[READ_ONLY].p_vaddr = u64(start);
        })
    };
    assert_refused(fixed(0x10), ImageError::Misaligned { part: "first segment", at: 0x10, align: 4096 });
    for bytes in [1 << 30, 1 << 47] {
        let end = DATA_ADDRESS + bytes;
        assert_refused(laid_out(|image| image.segments[DATA].p_memsz = u64(bytes)), ImageError::TooLarge { end });
    }
    assert_refused(
        laid_out(|image| image.segments[TLS].p_memsz = u64(u64::MAX)),
        ImageError::TooLarge { end: u64::MAX },
    );
    for address in [DATA_ADDRESS, 0x10, 0x2020, u64::MAX] {
        assert_refused(laid_out(|image| image.header.e_entry = u64(address)), ImageError::Entry { address });
    }
}

#[test]
fn notes() {
    assert_refused(laid_out(|image| image.segments[NOTES].p_type = u32(PT_NULL)), ImageError::NoNotes);
    assert_refused(laid_out(|image| image.segments[NOTES].p_align = u64(8)), ImageError::NoteAlign { found: 8 });
    let refused = laid_out(|image| {
        image.segments[NOTES].p_offset = u64(image.segments[NOTES].p_offset.get(object::LittleEndian) + 2)
    });
    assert!(matches!(refused, Err(ImageError::Misaligned { part: "note segment", align: 4, .. })));

    let only = |note: Vec<u8>| parts(|image| image.notes = note);
    assert_refused(only(note("HERMIT", 0x5a00, &[3])), ImageError::EntryVersion { found: 3 });
    assert_refused(only(note("HERMIT", 0x5a01, &[4])), ImageError::NoEntryVersion { later: false });
    assert_refused(only(note("GNU", 1, &[0; 16])), ImageError::NoEntryVersion { later: false });
    let at = 400;
    for (offset, value) in [(0, 0), (0, u32::MAX), (4, u32::MAX), (4, 0), (12, 0xffff_ffff)] {
        let mut bad = note("HERMIT", 0x5a00, &[4]);
        bad[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        assert_refused(only(bad), ImageError::BadNote { at });
    }
}

#[test]
fn a_note_where_loaders_do_not_look() {
    let refused = parts(|image| image.notes = [note("GNU", 1, &[0; 16]), note("HERMIT", 0x5a00, &[4])].concat());
    assert!(refused.is_ok());
    let split = |image: &mut Image| {
        let first = note("GNU", 1, &[0; 16]).len() as u64;
        let whole = image.segments[NOTES];
        image.segments[NOTES].p_filesz = u64(first);
        image.segments[TLS] = whole;
        image.segments[TLS].p_offset = u64(whole.p_offset.get(object::LittleEndian) + first);
        image.segments[TLS].p_filesz = u64(whole.p_filesz.get(object::LittleEndian) - first);
    };
    assert_refused(laid_out(split), ImageError::NoEntryVersion { later: true });
}

#[test]
fn dynamic_section() {
    let only = |tag, value| parts(|image| image.dynamic = vec![dynamic(tag, value)]);
    assert_refused(only(DT_NEEDED, 1), ImageError::Needed);
    assert_refused(only(DT_RELSZ, 24), ImageError::RelocationForm { form: "REL" });
    assert_refused(only(DT_RELCOUNT, 1), ImageError::RelocationForm { form: "REL" });
    assert_refused(only(DT_RELRSZ, 8), ImageError::RelocationForm { form: "RELR" });
    assert_refused(only(DT_PLTRELSZ, 24), ImageError::RelocationForm { form: "PLT" });
    assert!(matches!(only(DT_RELASZ, 1 << 40), Err(ImageError::Truncated { part: "relocation table", .. })));
    let fixed = laid_out(|image| image.header.e_type = u16(ET_EXEC));
    assert_refused(fixed, ImageError::RelocationForm { form: "fixed-address (ET_EXEC)" });
}

#[test]
fn relocations() {
    let [relative, absolute, global] = relocation_types();
    let only = |entry: Rela64<_>| parts(|image| image.relocations = vec![entry]);
    let index = 0;
    let end = DATA_ADDRESS + 64 + 0x1800;
    assert!(only(relocation(end - 8, relative, 0, 0)).is_ok());
    for target in [end - 7, u64::MAX - 3] {
        assert_refused(only(relocation(target, relative, 0, 0)), ImageError::RelocationTarget { index, target });
    }
    assert_refused(only(relocation(DATA_ADDRESS, 200, 0, 0)), ImageError::RelocationKind { index, kind: 200 });
    for addend in [i64::MIN, i64::MAX, 1 << 48] {
        assert_refused(only(relocation(DATA_ADDRESS, relative, 0, addend)), ImageError::RelocationValue { index });
    }
    assert_refused(only(relocation(DATA_ADDRESS, global, 2, 1)), ImageError::RelocationValue { index });
    assert_refused(only(relocation(DATA_ADDRESS, absolute, 3, 0)), ImageError::RelocationSymbol { index, symbol: 3 });
    // A weak symbol that nobody defines stays 0, where there is a 0; a strong one is an error.
    assert_refused(
        only(relocation(DATA_ADDRESS + 40, absolute, 1, 0)),
        ImageError::RelocationSymbol { index, symbol: 1 },
    );
    assert_refused(only(relocation(DATA_ADDRESS, absolute, 0, 0)), ImageError::RelocationSymbol { index, symbol: 0 });
    let twice = parts(|image| {
        image.relocations = vec![relocation(DATA_ADDRESS + 4, relative, 0, 1), relocation(DATA_ADDRESS, global, 1, 0)];
    });
    assert_refused(twice, ImageError::RelocationSymbol { index: 1, symbol: 1 });
    let far = parts(|image| image.symbols[2].st_value = u64(1 << 50));
    assert_refused(far, ImageError::RelocationValue { index: 1 });
}
