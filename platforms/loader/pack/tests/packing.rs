//! Stripping, packing, and the command line of the packer.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ebbtide_loader::check::check;
use ebbtide_loader::embed::{HEADER_BYTES, ImageHeader};
use ebbtide_pack::{pack, strip};
use object::elf::*;
use object::{LittleEndian as LE, pod};
use support::*;

/// A kernel as a linker writes it: with a comment and debug information behind what is loaded.
fn kernel() -> Vec<u8> {
    let mut file = good_file();
    let (header, _) = pod::from_bytes::<FileHeader64<LE>>(&file).unwrap();
    let mut header = *header;
    let table = file.split_off(header.e_shoff.get(LE) as usize);
    let (sections, _) = pod::slice_from_bytes::<SectionHeader64<LE>>(&table, 3).unwrap();
    let mut debug = sections[2];
    debug.sh_type = u32(SHT_PROGBITS);
    debug.sh_offset = u64(file.len() as u64);
    debug.sh_size = u64(5000);
    file.extend([0xdb; 5000]);
    header.e_shoff = u64(file.len() as u64);
    header.e_shnum = u16(4);
    file.extend(table);
    file.extend(pod::bytes_of(&debug));
    file[..size_of_val(&header)].copy_from_slice(pod::bytes_of(&header));
    file
}

/// A loader's file: one segment, and one for the image.
fn loader() -> Vec<u8> {
    let mut image = Image::good();
    image.segments.truncate(2);
    let mut header = image.header;
    header.e_phnum = u16(2);
    let mut file = pod::bytes_of(&header).to_vec();
    image.segments[1].p_offset = u64(4096);
    file.extend(pod::bytes_of_slice(&image.segments));
    file.resize(4096, 0xcc);
    file.extend(ImageHeader::EMPTY.to_bytes());
    file.extend([0xdb; 3000]);
    file
}

#[test]
fn a_stripped_kernel_is_small_and_in_order() {
    let kernel = kernel();
    let image = strip::strip(&kernel, machine()).unwrap();
    assert!(image.len() + 5000 <= kernel.len(), "{} and {} bytes", image.len(), kernel.len());
    assert_eq!(image[7], ELFOSABI_STANDALONE);
    assert_eq!(check(&image, machine()), check(&kernel, machine()));
    assert_eq!(strip::strip(&image, machine()).unwrap(), image, "a second time changes nothing");
    let names: Vec<_> = image.windows(NAMES.len()).filter(|window| *window == NAMES).collect();
    assert_eq!(names.len(), 1);
}

const NAMES: &[u8] = b"\0.dynsym\0.shstrtab\0";

#[test]
fn a_packed_image_is_found_again() {
    let (loader, image) = (loader(), [0x5a; 777]);
    let packed = pack::pack(&loader, &image).unwrap();
    assert_eq!(packed.len(), 4096 + HEADER_BYTES + image.len());
    assert_eq!(packed[4096..4096 + HEADER_BYTES], ImageHeader::seal(&image).to_bytes());
    assert_eq!(packed[4096 + HEADER_BYTES..], image);
    assert_eq!(pack::pack(&packed, &image), Err(pack::NoLoader), "it has an image already");
    assert_eq!(pack::pack(&image, &image), Err(pack::NoLoader));
    for length in [0, 10, 64, 100, 4096, 4100] {
        assert_eq!(pack::pack(&loader[..length], &image), Err(pack::NoLoader));
    }
}

/// An aarch64 loader's file: code of 100 bytes at 0x10000, 0x200 bytes at 0x12000 of which 0x10 are in the file, and the
/// segment for the image at 0x13000.
fn arm64_loader() -> Vec<u8> {
    let mut image = Image::good();
    let mut header = image.header;
    header.e_machine = u16(EM_AARCH64);
    header.e_phnum = u16(3);
    image.segments.truncate(3);
    let places = [(0x1000, 0x10000, 100, 100), (0x2000, 0x12000, 0x10, 0x200), (0x3000, 0x13000, 32, 32)];
    for (segment, (offset, address, file_bytes, bytes)) in image.segments.iter_mut().zip(places) {
        segment.p_type = u32(PT_LOAD);
        segment.p_offset = u64(offset);
        segment.p_vaddr = u64(address);
        segment.p_paddr = u64(address);
        segment.p_filesz = u64(file_bytes);
        segment.p_memsz = u64(bytes);
    }
    let mut file = pod::bytes_of(&header).to_vec();
    file.extend(pod::bytes_of_slice(&image.segments));
    file.resize(0x3000, 0xcc);
    file[0x1000 + 56..][..4].copy_from_slice(b"ARM\x64");
    file.extend(ImageHeader::EMPTY.to_bytes());
    file.extend([0xdb; 3000]);
    file
}

#[test]
fn an_arm64_loader_becomes_flat() {
    let (loader, image) = (arm64_loader(), [0x5a; 777]);
    let packed = pack::pack(&loader, &image).unwrap();
    assert_eq!(packed.len(), 0x3000 + HEADER_BYTES + image.len());
    assert_eq!(packed[16..24], 0x4000_u64.to_le_bytes(), "the length, in whole pages");
    assert_eq!(packed[..16], [0xcc; 16]);
    assert_eq!(packed[24..100], loader[0x1000 + 24..0x1000 + 100]);
    assert!(packed[100..0x2000].iter().all(|byte| *byte == 0));
    assert_eq!(packed[0x2000..0x2010], [0xcc; 0x10]);
    assert!(packed[0x2010..0x3000].iter().all(|byte| *byte == 0), "zeroed memory lies in the file");
    assert_eq!(packed[0x3000..0x3000 + HEADER_BYTES], ImageHeader::seal(&image).to_bytes());
    assert_eq!(packed[0x3000 + HEADER_BYTES..], image);
}

#[test]
fn an_arm64_loader_that_is_none_is_refused() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut loader = arm64_loader();
        change(&mut loader);
        pack::pack(&loader, &[0x5a; 777]) == Err(pack::NoLoader)
    };
    assert!(!refused(|_| ()));
    assert!(refused(|loader| loader[0x1000 + 56] = 0), "no arm64 Image");
    // Program headers of 56 bytes behind a header of 64: file offset, physical address and file size of the first.
    assert!(refused(|loader| loader[64 + 8 + 6] = 1));
    assert!(refused(|loader| loader[64 + 24 + 3] = 2), "far from the others");
    assert!(refused(|loader| loader[64 + 32..][..8].fill(0xff)));
    assert!(refused(|loader| loader[64 + 32 + 1] = 0x40), "longer than up to the image");
}

fn run(folder: &Path, kernel: &[u8], more: &[&str]) -> Output {
    fs::write(folder.join("kernel"), kernel).unwrap();
    fs::write(folder.join("loader"), loader()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ebbtide-pack"));
    command.current_dir(folder).args(["--arch", std::env::consts::ARCH]);
    command.args(["--loader", "loader", "--kernel", "kernel", "--hermit", "out.hermit", "--output", "out"]);
    command.args(more).output().unwrap()
}

#[test]
fn the_packer_writes_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &kernel(), &[]);
    assert!(output.status.success(), "{output:?}");
    let image = fs::read(folder.path().join("out.hermit")).unwrap();
    assert_eq!(image, strip::strip(&kernel(), machine()).unwrap());
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), pack::pack(&loader(), &image).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "no temporary file is left");
}

#[test]
fn a_refused_kernel_is_one_line_and_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), b"#!/bin/sh\n", &[]);
    assert_eq!(output.status.code(), Some(106));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("kernel: boot refused: this is no ELF file"), "{text}");
    assert!(!folder.path().join("out").exists() && !folder.path().join("out.hermit").exists());
}

#[test]
fn unchecked_packs_anything() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), b"#!/bin/sh\n", &["--unchecked"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(folder.path().join("out")).unwrap(), pack::pack(&loader(), b"#!/bin/sh\n").unwrap());
}

#[test]
fn wrong_arguments_have_a_code_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &kernel(), &["--loader", "nowhere"]).status.code(), Some(121));
    assert_eq!(run(folder.path(), &kernel(), &["--what"]).status.code(), Some(121));
    fs::write(folder.path().join("odd"), b"odd").unwrap();
    assert_eq!(run(folder.path(), &kernel(), &["--kernel", "odd"]).status.code(), Some(121));
}
