//! Appends an image to the loader: the loader's last segment, made for that, becomes longer.

use core::fmt;

use ebbtide_loader::embed::{HEADER_BYTES, ImageHeader};
use object::elf::{ELFMAG, FileHeader64, PT_LOAD, ProgramHeader64};
use object::{LittleEndian, U16, U64, pod};

use crate::LITTLE;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;

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
    let (mut header, place) = find_place(loader).ok_or(NoLoader)?;
    let mut segment = place.segment;
    let bytes = U64::new(LITTLE, (HEADER_BYTES + image.len()) as u64);
    segment.p_filesz = bytes;
    segment.p_memsz = bytes;
    header.e_shoff = U64::new(LITTLE, 0);
    header.e_shnum = U16::new(LITTLE, 0);
    header.e_shstrndx = U16::new(LITTLE, 0);

    let mut packed = loader[..place.offset].to_vec();
    write(&mut packed, 0, pod::bytes_of(&header));
    write(&mut packed, place.segment_offset, pod::bytes_of(&segment));
    packed.extend_from_slice(&ImageHeader::seal(image).to_bytes());
    packed.extend_from_slice(image);
    Ok(packed)
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
    let count = header.e_phnum.get(LITTLE).into();
    let (segments, _) = pod::slice_from_bytes::<Segment>(loader.get(table..)?, count).ok()?;
    let last = segments.iter().rposition(|segment| segment.p_type.get(LITTLE) == PT_LOAD)?;
    let offset = usize::try_from(segments[last].p_offset.get(LITTLE)).ok()?;
    let segment_offset = table + last * size_of::<Segment>();
    let empty = loader.get(offset..)?.starts_with(&ImageHeader::EMPTY.to_bytes());
    let fits = segment_offset + size_of::<Segment>() <= offset && size_of::<Header>() <= offset;
    let place = Place { segment: segments[last], segment_offset, offset };
    (empty && fits).then_some((*header, place))
}

fn write(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}
