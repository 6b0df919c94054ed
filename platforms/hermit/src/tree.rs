//! Decides whether a device tree can be read, before the `fdt` crate does.
//!
//! That crate panics on trees that are not in order (a block outside of the tree, a name without end, a property
//! between children). This walk goes over all of it once and accepts what the crate can read; the tests hold it to
//! that with damaged trees. Format: Devicetree Specification 0.4, chapter 5.

use core::fmt;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// All fields are big-endian words.
const WORD_BYTES: usize = 4;

/// Ten words: magic, total size, offsets of structure, strings and reservations, versions, boot CPU, block sizes.
pub const HEADER_BYTES: usize = 10 * WORD_BYTES;

/// The largest tree that is believed, in bytes: QEMU's take up to 1 MiB.
const MAX_BYTES: usize = 2 << 20;

/// Deeper trees are not read: the `fdt` crate recurses, and the boot stack is small.
const MAX_DEPTH: usize = 16;

/// What is wrong with a device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// It does not start with the header of a device tree.
    Header,
    /// Its total size is smaller than a header, or absurd.
    Size,
    /// A block of it lies outside of it.
    Block,
    /// Its structure is broken.
    Structure {
        /// Where, in bytes from the start of the structure block.
        at: usize,
    },
    /// Its nodes are nested too deeply.
    Depth,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("it has no device tree header"),
            Self::Size => f.write_str("its size makes no sense"),
            Self::Block => f.write_str("a block of it lies outside of it"),
            Self::Structure { at } => write!(f, "its structure is broken at byte {at:#x}"),
            Self::Depth => write!(f, "it is more than {MAX_DEPTH} nodes deep"),
        }
    }
}

impl core::error::Error for TreeError {}

/// Returns the size of the whole tree in bytes, as its header says.
pub fn total_bytes(header: &[u8]) -> Result<usize, TreeError> {
    if word(header, 0) != Some(MAGIC) {
        return Err(TreeError::Header);
    }
    let total = word(header, WORD_BYTES).ok_or(TreeError::Header)? as usize;
    if (HEADER_BYTES..=MAX_BYTES).contains(&total) { Ok(total) } else { Err(TreeError::Size) }
}

/// Checks that the `fdt` crate can read `tree`.
pub fn check(tree: &[u8]) -> Result<(), TreeError> {
    let tree = tree.get(..total_bytes(tree)?).ok_or(TreeError::Size)?;
    let block = |offset_at: usize, size_at: usize| {
        let start = word(tree, offset_at * WORD_BYTES)? as usize;
        let end = start.checked_add(word(tree, size_at * WORD_BYTES)? as usize)?;
        tree.get(start..end)
    };
    let structure = block(2, 9).ok_or(TreeError::Block)?;
    let strings = block(3, 8).ok_or(TreeError::Block)?;
    Walk { structure, strings, at: 0 }.all()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

/// A text with a zero at its end.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    core::str::from_utf8(&bytes[..end]).ok()
}

struct Walk<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn all(mut self) -> Result<(), TreeError> {
        let mut depth = 0_usize;
        let mut properties_allowed = false;
        loop {
            let at = self.at;
            let broken = TreeError::Structure { at };
            match self.next_word().ok_or(broken)? {
                BEGIN_NODE => {
                    let name = self.name().ok_or(broken)?;
                    if (depth == 0) != name.is_empty() || (depth == 0 && at != 0) {
                        return Err(broken);
                    }
                    depth += 1;
                    properties_allowed = true;
                }
                PROPERTY if properties_allowed => self.property().ok_or(broken)?,
                END_NODE if depth > 0 => {
                    depth -= 1;
                    properties_allowed = false;
                }
                END if depth == 0 && at != 0 => return Ok(()),
                _ => return Err(broken),
            }
            if depth > MAX_DEPTH {
                return Err(TreeError::Depth);
            }
        }
    }

    fn next_word(&mut self) -> Option<u32> {
        let value = word(self.structure, self.at)?;
        self.at += WORD_BYTES;
        Some(value)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?.checked_next_multiple_of(WORD_BYTES)?;
        (self.at <= self.structure.len()).then_some(())
    }

    fn name(&mut self) -> Option<&str> {
        let name = text(self.structure.get(self.at..)?)?;
        self.skip(name.len() + 1)?;
        Some(name)
    }

    fn property(&mut self) -> Option<()> {
        let bytes = self.next_word()? as usize;
        let name = text(self.strings.get(self.next_word()? as usize..)?)?;
        // The crate reads one word of these without looking how many there are.
        if matches!(name, "#address-cells" | "#size-cells") && bytes != WORD_BYTES {
            return None;
        }
        self.skip(bytes)
    }
}
