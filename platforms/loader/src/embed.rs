//! How an image lies in the packed file: a header, then the image's bytes.
//!
//! The linker script ends the loader with a segment of its own that holds nothing but an empty [`ImageHeader`]; the
//! packer fills the header in and appends the image. The loader must notice a file that was cut off or damaged on its
//! way, at a price that boot can afford: every instruction before `main` counts. A CRC takes some ten instructions
//! per word without special hardware. Here it is two 64-bit sums, as Fletcher's checksum has them (Fletcher, "An
//! Arithmetic Checksum for Serial Transmissions", 1982): two additions per word, some 45,000 instructions for an image
//! of 160 KiB. The first sum sees every change of one word, the second one also what is moved or exchanged. It guards
//! against accidents, not against forgery: whoever can write the file can write the loader as well.

use core::fmt;

/// The first word of a filled or empty header: "EBBIMAGE".
pub const MAGIC: u64 = u64::from_le_bytes(*b"EBBIMAGE");

/// What stands before the image's bytes in the packed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ImageHeader {
    /// [`MAGIC`], little-endian like all words here.
    pub magic: u64,
    /// The image's length in bytes: 0 as long as nothing is packed.
    pub length: u64,
    /// The sum of its words.
    pub sum: u64,
    /// The sum of all sums on the way.
    pub sum_of_sums: u64,
}

/// Size of an [`ImageHeader`] in the file, in bytes.
pub const HEADER_BYTES: usize = size_of::<ImageHeader>();

// hermit-entry's parser reads words of 8 bytes, and the image lies directly behind the header.
static_assertions::const_assert!(HEADER_BYTES.is_multiple_of(align_of::<u64>()));

/// Why the embedded image cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbedError {
    /// Nothing was packed with this loader.
    Empty,
    /// There is no header where it should be.
    NoHeader,
    /// The header claims more than the space that there is.
    TooLong {
        /// The length that the header claims, in bytes.
        length: u64,
        /// The space that there is, in bytes.
        space: u64,
    },
    /// The bytes are not those that were packed.
    Damaged,
}

impl fmt::Display for EmbedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no kernel was packed with this loader"),
            Self::NoHeader => f.write_str("the packed file was cut off before its image; pack it again"),
            Self::TooLong { length, space } => {
                write!(f, "the image has {length} bytes, but memory for {space} only; give the guest more memory")
            }
            Self::Damaged => f.write_str("the image was damaged or cut off after it was packed; pack it again"),
        }
    }
}

impl core::error::Error for EmbedError {}

impl ImageHeader {
    /// The header of a loader that nothing was packed with yet.
    pub const EMPTY: Self = Self { magic: MAGIC, length: 0, sum: 0, sum_of_sums: 0 };

    /// Returns the header for `image`.
    #[must_use]
    pub fn seal(image: &[u8]) -> Self {
        let (sum, sum_of_sums) = sums(image);
        Self { magic: MAGIC, length: image.len() as u64, sum, sum_of_sums }
    }

    /// Returns the header as it stands in the file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let words = [self.magic, self.length, self.sum, self.sum_of_sums];
        for (chunk, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Returns the image's length, if the header is in order and at most `space` bytes follow it.
    ///
    /// # Errors
    ///
    /// What is wrong with the header.
    pub fn length_within(&self, space: u64) -> Result<usize, EmbedError> {
        if self.magic != MAGIC {
            return Err(EmbedError::NoHeader);
        }
        match self.length {
            0 => Err(EmbedError::Empty),
            length if length > space => Err(EmbedError::TooLong { length, space }),
            length => Ok(length as usize),
        }
    }

    /// Checks that `image` is what this header was made for.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Damaged`] if it is not.
    pub fn verify(&self, image: &[u8]) -> Result<(), EmbedError> {
        if Self::seal(image) == *self { Ok(()) } else { Err(EmbedError::Damaged) }
    }
}

/// Adds up the little-endian words of `bytes` (the last one filled up with zeros), and the sums on the way.
fn sums(bytes: &[u8]) -> (u64, u64) {
    let (words, rest) = bytes.as_chunks::<{ size_of::<u64>() }>();
    let mut last = [0; size_of::<u64>()];
    last[..rest.len()].copy_from_slice(rest);
    let sums = match plain::slice_from_bytes(words.as_flattened()) {
        // One load for each word also where a CPU must not be asked for one that lies elsewhere: in the loader always.
        Ok(aligned) => add_words((0, 0), aligned, |word| u64::from_le(*word)),
        Err(_) => add_words((0, 0), words, |word| u64::from_le_bytes(*word)),
    };
    add_words(sums, &[u64::from_le_bytes(last)], |word| *word)
}

#[inline(always)]
fn add_words<T>((mut sum, mut sum_of_sums): (u64, u64), words: &[T], value: impl Fn(&T) -> u64) -> (u64, u64) {
    let mut add = |word| {
        sum = sum.wrapping_add(value(word));
        sum_of_sums = sum_of_sums.wrapping_add(sum);
    };
    // Blocks of eight words: the compiler unrolls them, and nothing but the additions is left.
    let (blocks, words) = words.as_chunks::<8>();
    for block in blocks {
        block.iter().for_each(&mut add);
    }
    words.iter().for_each(add);
    (sum, sum_of_sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_accepted() {
        for length in 0..200_usize {
            let image: [u8; 200] = core::array::from_fn(|at| at as u8);
            assert_eq!(ImageHeader::seal(&image[..length]).verify(&image[..length]), Ok(()));
        }
    }

    #[test]
    fn a_change_is_noticed_wherever_it_is() {
        let image: [u8; 150] = core::array::from_fn(|at| (at * 7) as u8);
        let header = ImageHeader::seal(&image);
        for at in 0..image.len() {
            let mut damaged = image;
            damaged[at] ^= 0x10;
            assert_eq!(header.verify(&damaged), Err(EmbedError::Damaged), "byte {at}");
        }
        let mut exchanged = image;
        exchanged.copy_within(8..16, 0);
        exchanged[8..16].copy_from_slice(&image[..8]);
        assert_eq!(header.verify(&exchanged), Err(EmbedError::Damaged));
        assert_eq!(header.verify(&image[..149]), Err(EmbedError::Damaged));
    }

    #[test]
    fn it_is_the_same_wherever_the_image_lies() {
        let words: [u64; 20] = core::array::from_fn(|at| at as u64 * 0x0123_4567_89ab);
        let mut bytes = [0; 161];
        for (chunk, word) in bytes[1..].chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let sealed = [0, 1, 2, 3].map(|shift| {
            let mut moved = [0_u64; 21].map(u64::to_le_bytes);
            let moved = &mut moved.as_flattened_mut()[shift..shift + 160];
            moved.copy_from_slice(&bytes[1..]);
            ImageHeader::seal(moved)
        });
        assert!(sealed.iter().all(|header| *header == sealed[0]));
        assert_eq!(sealed[0].sum, words.iter().fold(0, |sum, word| word.wrapping_add(sum)));
    }

    #[test]
    fn a_header_must_fit() {
        let header = ImageHeader::seal(&[1; 100]);
        assert_eq!(header.length_within(100), Ok(100));
        assert_eq!(header.length_within(99), Err(EmbedError::TooLong { length: 100, space: 99 }));
        assert_eq!(ImageHeader::EMPTY.length_within(99), Err(EmbedError::Empty));
        assert_eq!(ImageHeader { magic: 0, ..header }.length_within(100), Err(EmbedError::NoHeader));
    }
}
