//! The seal of a Hermit image that the packer made: two sums over all of its bytes, behind them.
//!
//! The check finds what would make a loader fail; it cannot know that an instruction or a string is no longer the one
//! that was built. The seal can. It is made when an image is stripped, and looked at on the host whenever one is given
//! by hand; in the guest the packed file's own header ([`embed`](crate::embed)) does the same for all that it holds.
//!
//! Images of other makers have no seal, and are taken as they are. So that damage cannot simply take the seal away, a
//! sealed file says so at its other end as well, in a byte of the ELF identification that readers ignore (`EI_PAD`).

use crate::check::ImageError;
use crate::embed::{HEADER_BYTES, ImageHeader, MAGIC};

/// The byte of the ELF identification that says that there is a seal: the first of `EI_PAD`.
const MARK_AT: usize = 9;

/// What it says then.
const MARK: u8 = 0xeb;

/// Marks an image as sealed; [`seal`] makes the seal of the marked bytes.
pub fn mark(image: &mut [u8]) {
    image[MARK_AT] = MARK;
}

/// Returns what is to stand behind a marked image.
#[must_use]
pub fn seal(marked: &[u8]) -> [u8; HEADER_BYTES] {
    ImageHeader::seal(marked).to_bytes()
}

/// Checks that a file is what was sealed, or was never sealed.
///
/// # Errors
///
/// [`ImageError::Seal`] if it was sealed and is something else now.
pub fn verify(file: &[u8]) -> Result<(), ImageError> {
    let marked = file.get(MARK_AT) == Some(&MARK);
    let Some((image, trailer)) = file.split_last_chunk::<HEADER_BYTES>() else {
        return if marked { Err(ImageError::Seal) } else { Ok(()) };
    };
    let sealed = trailer.starts_with(&MAGIC.to_le_bytes());
    match (marked, sealed) {
        (false, false) => Ok(()),
        (true, true) if seal(image) == *trailer => Ok(()),
        _ => Err(ImageError::Seal),
    }
}
