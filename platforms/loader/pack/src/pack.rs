//! Appends an image to the loader: the loader's last segment, made for that, becomes longer.
//!
//! On x86_64 the result is an ELF file, as PVH wants it. On aarch64 it is flat: the loader's segments in the order and at
//! the distances at which they lie in memory, the first of them with the header of an arm64 Image
//! (<https://docs.kernel.org/arch/arm64/booting.html>), because QEMU hands its device tree to nothing else.

use core::fmt;

use ebbtide_loader::embed::{HEADER_BYTES, ImageHeader};
use object::elf::{ELFMAG, EM_AARCH64, FileHeader64, PT_LOAD, ProgramHeader64};
use object::{LittleEndian, U16, U64, pod};

use crate::LITTLE;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;

/// The most that a loader takes in memory, in bytes: its segments lie close to each other.
const MAX_LOADER_BYTES: u64 = 16 << 20;

/// What an arm64 Image has at this offset, and where the length of all of it stands, in bytes.
const ARM64_MAGIC: (usize, &[u8]) = (56, b"ARM\x64");
const ARM64_LENGTH: usize = 16;

/// The length counts whole pages, in bytes.
const ARM64_PAGE: usize = 4096;

/// The file that should be a loader has no place for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLoader;

impl fmt::Display for NoLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no loader that an image can be packed with; build ebbtide-loader and give its ELF file")
    }
}

impl core::error::Error for NoLoader {}

/// Returns one bootable file, the loader with `image` in it.
///
/// What the loader's file holds behind its segments (symbols, debug information) is left out.
///
/// # Errors
///
/// [`NoLoader`] if `loader` is not a loader, or has an image already.
pub fn pack(loader: &[u8], image: &[u8]) -> Result<Vec<u8>, NoLoader> {
    let (header, place) = find_place(loader).ok_or(NoLoader)?;
    let mut packed = match header.e_machine.get(LITTLE) {
        EM_AARCH64 => flat(loader, header, &place, image.len()).ok_or(NoLoader)?,
        _ => elf(loader, header, &place, image.len()),
    };
    packed.extend_from_slice(&ImageHeader::seal(image).to_bytes());
    packed.extend_from_slice(image);
    Ok(packed)
}

/// What comes before an image of so many bytes in an ELF file.
fn elf(loader: &[u8], mut header: Header, place: &Place, image_bytes: usize) -> Vec<u8> {
    let mut segment = place.segment;
    let bytes = U64::new(LITTLE, (HEADER_BYTES + image_bytes) as u64);
    segment.p_filesz = bytes;
    segment.p_memsz = bytes;
    header.e_shoff = U64::new(LITTLE, 0);
    header.e_shnum = U16::new(LITTLE, 0);
    header.e_shstrndx = U16::new(LITTLE, 0);

    let mut packed = loader[..place.offset].to_vec();
    write(&mut packed, 0, pod::bytes_of(&header));
    write(&mut packed, place.segment_offset, pod::bytes_of(&segment));
    packed
}

/// What comes before an image of so many bytes in a flat file: nothing unless the loader starts as an arm64 Image.
fn flat(loader: &[u8], header: Header, place: &Place, image_bytes: usize) -> Option<Vec<u8>> {
    let segments = segments(loader, &header)?.iter().filter(|segment| segment.p_type.get(LITTLE) == PT_LOAD);
    let start = segments.clone().map(|segment| segment.p_paddr.get(LITTLE)).min()?;
    let offset = |address: u64| Some(address.checked_sub(start).filter(|offset| *offset < MAX_LOADER_BYTES)? as usize);
    let end = offset(place.segment.p_paddr.get(LITTLE))?;
    // What no segment fills is zero, as zeroed memory must be: nobody clears it at boot.
    let mut packed = vec![0; end];
    for segment in segments.filter(|segment| segment.p_paddr != place.segment.p_paddr) {
        let file = usize::try_from(segment.p_offset.get(LITTLE)).ok()?;
        let bytes = usize::try_from(segment.p_filesz.get(LITTLE)).ok()?;
        let contents = loader.get(file..file.checked_add(bytes)?)?;
        let at = offset(segment.p_paddr.get(LITTLE))?;
        packed.get_mut(at..at + bytes)?.copy_from_slice(contents);
    }
    let (magic_at, magic) = ARM64_MAGIC;
    if !packed.get(magic_at..)?.starts_with(magic) {
        return None;
    }
    let length = (end + HEADER_BYTES + image_bytes).next_multiple_of(ARM64_PAGE) as u64;
    write(&mut packed, ARM64_LENGTH, &length.to_le_bytes());
    Some(packed)
}

/// The segment for the image.
struct Place {
    segment: Segment,
    /// Where its program header lies in the file.
    segment_offset: usize,
    /// Where its contents lie in the file.
    offset: usize,
}

fn find_place(loader: &[u8]) -> Option<(Header, Place)> {
    let (header, _) = pod::from_bytes::<Header>(loader).ok()?;
    if header.e_ident.magic != ELFMAG {
        return None;
    }
    let table = usize::try_from(header.e_phoff.get(LITTLE)).ok()?;
    let segments = segments(loader, header)?;
    let last = segments.iter().rposition(|segment| segment.p_type.get(LITTLE) == PT_LOAD)?;
    let offset = usize::try_from(segments[last].p_offset.get(LITTLE)).ok()?;
    let segment_offset = table + last * size_of::<Segment>();
    let empty = loader.get(offset..)?.starts_with(&ImageHeader::EMPTY.to_bytes());
    let fits = segment_offset + size_of::<Segment>() <= offset && size_of::<Header>() <= offset;
    let place = Place { segment: segments[last], segment_offset, offset };
    (empty && fits).then_some((*header, place))
}

fn segments<'a>(loader: &'a [u8], header: &Header) -> Option<&'a [Segment]> {
    let table = usize::try_from(header.e_phoff.get(LITTLE)).ok()?;
    let (segments, _) = pod::slice_from_bytes(loader.get(table..)?, header.e_phnum.get(LITTLE).into()).ok()?;
    Some(segments)
}

fn write(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}
