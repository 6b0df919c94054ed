//! Damaged images: a sample of what can go wrong between a build and a boot, each for the loader in the guest to refuse.
//!
//! The same and 10,000 more are refused on the host, by the packer's own tests. Here a boot must end with one clear line,
//! whatever the loader is given: it has no operating system to save it from a wrong pointer.

use anyhow::{Context, Result};

use super::case::Outcome;
use super::images::{Images, renamed};
use crate::build::Image;

/// A way to spoil a file.
struct Damage {
    name: &'static str,
    spoil: fn(&mut Vec<u8>),
}

/// Offsets in an ELF header of 64 bits.
mod elf {
    pub const CLASS: usize = 4;
    pub const BYTE_ORDER: usize = 5;
    pub const TYPE: usize = 16;
    pub const MACHINE: usize = 18;
    pub const ENTRY: usize = 24;
    pub const SEGMENTS: usize = 32;
    pub const SEGMENT_COUNT: usize = 56;
    /// Bytes of a program header, and offsets in it.
    pub const SEGMENT_BYTES: usize = 56;
    pub const OFFSET: usize = 8;
    pub const ADDRESS: usize = 16;
    pub const FILE_BYTES: usize = 32;
    pub const MEMORY_BYTES: usize = 40;
    /// Types of segments.
    pub const LOAD: u32 = 1;
    pub const DYNAMIC: u32 = 2;
    pub const NOTE: u32 = 4;
}

/// What is done to the kernel before it is packed.
const KERNEL: &[Damage] = &[
    Damage { name: "empty", spoil: |file| file.clear() },
    Damage { name: "one-byte", spoil: |file| file.truncate(1) },
    Damage { name: "cut-in-header", spoil: |file| file.truncate(40) },
    Damage { name: "cut-behind-header", spoil: |file| file.truncate(64) },
    Damage { name: "cut-in-half", spoil: |file| file.truncate(file.len() / 2) },
    Damage { name: "garbage", spoil: |file| garble(file, 0) },
    Damage { name: "garbage-behind-header", spoil: |file| garble(file, 64) },
    Damage { name: "no-elf", spoil: |file| file[0] = b'E' },
    Damage { name: "32-bit", spoil: |file| file[elf::CLASS] = 1 },
    Damage { name: "big-endian", spoil: |file| file[elf::BYTE_ORDER] = 2 },
    Damage { name: "core-dump", spoil: |file| file[elf::TYPE] = 4 },
    // Alpha, which no target is.
    Damage { name: "other-architecture", spoil: |file| put(file, elf::MACHINE, &0x9026_u16.to_le_bytes()) },
    Damage { name: "entry-outside", spoil: |file| put(file, elf::ENTRY, &(1_u64 << 40).to_le_bytes()) },
    Damage { name: "no-segments", spoil: |file| put(file, elf::SEGMENT_COUNT, &[0, 0]) },
    Damage { name: "many-segments", spoil: |file| put(file, elf::SEGMENT_COUNT, &[0xff, 0xff]) },
    Damage { name: "segments-outside", spoil: |file| put(file, elf::SEGMENTS, &u64::MAX.to_le_bytes()) },
    Damage { name: "no-note", spoil: |file| in_segment(file, elf::NOTE, 0, &[0; 4]) },
    Damage { name: "other-version", spoil: |file| other_version(file) },
    Damage { name: "segment-behind-end", spoil: |file| in_segment(file, elf::LOAD, elf::OFFSET, &[0xff; 7]) },
    Damage { name: "segment-too-long", spoil: |file| in_segment(file, elf::LOAD, elf::FILE_BYTES, &[0xff; 6]) },
    Damage { name: "segment-too-large", spoil: |file| in_segment(file, elf::LOAD, elf::MEMORY_BYTES, &[0xff; 6]) },
    Damage { name: "segment-elsewhere", spoil: |file| in_segment(file, elf::LOAD, elf::ADDRESS, &[0xff; 8]) },
];

/// What is done besides to a kernel that is relocated.
const RELOCATED: &[Damage] =
    &[Damage { name: "no-dynamic-section", spoil: |file| in_segment(file, elf::DYNAMIC, elf::OFFSET, &[0xff; 7]) }];

/// What is done to the file that boots.
const PACKED: &[Damage] = &[
    Damage { name: "packed-last-byte", spoil: |file| flip(file, 1) },
    Damage { name: "packed-middle", spoil: |file| flip(file, 20_000) },
    Damage { name: "packed-zeroed-page", spoil: |file| zero_page(file) },
];

/// How many damages there are at most.
pub fn count() -> u32 {
    (KERNEL.len() + RELOCATED.len() + PACKED.len()) as u32
}

/// Boots the image with each damage. `boot` runs one and judges it.
///
/// # Errors
///
/// Those of packing and booting.
pub fn boots(
    images: &Images,
    image: &Image,
    boot: impl Fn(&Image, &str) -> Result<Vec<Outcome>>,
) -> Result<Vec<Outcome>> {
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (kernel, packed) = (read(&image.hermit)?, read(&image.bootable)?);
    let mut outcomes = Vec::new();
    let mut judged = |name: &str, damaged: &Image| -> Result<()> {
        let made = boot(damaged, &format!("damaged-{name}"))?;
        outcomes.extend(made.into_iter().map(|outcome| Outcome { name: name.to_owned(), ..outcome }));
        Ok(())
    };
    let relocated = segment(&kernel, elf::DYNAMIC).map_or(&[][..], |_| RELOCATED);
    // Once: each look at it would wait for the build that has its turn.
    let loader = images.loader_of(image)?;
    for damage in KERNEL.iter().chain(relocated) {
        let damaged = images.unchecked(&loader, image, damage.name, &spoilt(damage, &kernel))?;
        judged(damage.name, &damaged)?;
    }
    for damage in PACKED {
        let damaged = renamed(image, damage.name);
        let path = &damaged.bootable;
        std::fs::write(path, spoilt(damage, &packed)).with_context(|| format!("cannot write {}", path.display()))?;
        judged(damage.name, &damaged)?;
    }
    Ok(outcomes)
}

/// A spoilt copy.
fn spoilt(damage: &Damage, whole: &[u8]) -> Vec<u8> {
    let mut copy = whole.to_vec();
    (damage.spoil)(&mut copy);
    assert_ne!(copy, whole, "{} changes nothing", damage.name);
    copy
}

/// A byte that looks like any other.
fn noise(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn garble(file: &mut [u8], from: usize) {
    for (at, byte) in file.iter_mut().enumerate().skip(from) {
        *byte = noise(at);
    }
}

fn flip(file: &mut [u8], from_end: usize) {
    let at = file.len() - from_end;
    file[at] ^= 0x10;
}

/// A page in the last third, where the image lies: the first that holds anything.
fn zero_page(file: &mut [u8]) {
    let pages = file.chunks_mut(4096);
    let behind = pages.len() * 2 / 3;
    if let Some(page) = pages.skip(behind).find(|page| page.iter().any(|byte| *byte != 0)) {
        page.fill(0);
    }
}

/// Where the first program header of a type is.
fn segment(file: &[u8], kind: u32) -> Option<usize> {
    let first = word(file, elf::SEGMENTS)? as usize;
    let count = u16::from_le_bytes(file.get(elf::SEGMENT_COUNT..elf::SEGMENT_COUNT + 2)?.try_into().ok()?);
    (0..count.into())
        .map(|number| first + number * elf::SEGMENT_BYTES)
        .take_while(|at| at + elf::SEGMENT_BYTES <= file.len())
        .find(|at| file[*at..*at + 4] == kind.to_le_bytes())
}

fn word(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?))
}

fn in_segment(file: &mut [u8], kind: u32, at: usize, bytes: &[u8]) {
    if let Some(header) = segment(file, kind) {
        put(file, header + at, bytes);
    }
}

/// Raises the version in the note with the name `HERMIT`.
fn other_version(file: &mut [u8]) {
    if let Some(name) = file.windows(7).position(|bytes| bytes == b"HERMIT\0") {
        // The name is padded to 8 bytes; the version follows it.
        file[name + 8] ^= 0x40;
    }
}

#[cfg(test)]
mod tests {
    use super::{KERNEL, RELOCATED, elf, segment, spoilt};

    /// A header, three program headers, a note.
    fn image() -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[elf::TYPE] = 3;
        file[elf::MACHINE] = 62;
        file[elf::SEGMENTS] = 64;
        file[elf::SEGMENT_COUNT] = 3;
        for kind in [elf::LOAD, elf::DYNAMIC, elf::NOTE] {
            let mut header = vec![0; elf::SEGMENT_BYTES];
            header[0] = kind as u8;
            file.extend(header);
        }
        file.extend(b"HERMIT\0\0\x01");
        file
    }

    #[test]
    fn segments_are_found() {
        let file = image();
        assert_eq!(segment(&file, elf::LOAD), Some(64));
        assert_eq!(segment(&file, elf::NOTE), Some(64 + 2 * elf::SEGMENT_BYTES));
        assert_eq!(segment(&file, 7), None);
        // What follows the headers is none, whatever stands there.
        let mut longer = file.clone();
        longer.resize(file.len() + 2 * elf::SEGMENT_BYTES, 7);
        longer[64 + 3 * elf::SEGMENT_BYTES..].fill(0);
        longer[64 + 3 * elf::SEGMENT_BYTES] = 7;
        assert_eq!(segment(&longer, 7), None);
    }

    #[test]
    fn every_damage_changes_the_image_and_has_its_own_name() {
        let mut names = std::collections::BTreeSet::new();
        for damage in KERNEL.iter().chain(RELOCATED) {
            spoilt(damage, &image());
            assert!(names.insert(damage.name), "{} stands there twice", damage.name);
        }
    }
}
