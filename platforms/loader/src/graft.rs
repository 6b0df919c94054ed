//! Copies a device tree that the machine came with, with what the kernel is told put into `/chosen`.
//!
//! The tree says far more than the kernel reads, and QEMU leaves 1 MiB for it of which 8 KiB are used. So what is used is
//! copied block by block, and the one place where something changes is spliced: a few thousand instructions, where a
//! writer that makes the tree anew takes some hundred for each of its 300 properties.
//!
//! ```text
//! header | reservations | structure … chosen { ═ new bootargs, boot-counter ═ others, but no bootargs } … | strings + 2
//! ```
//!
//! Format: Devicetree Specification 0.4, chapter 5.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use fdt::node::FdtNode;

/// The kind of a word that begins a property, then its length and its name's place among the strings.
const PROPERTY: u32 = 3;
const PROPERTY_HEADER_BYTES: usize = 12;

/// All parts of the structure are multiples of this, in bytes.
const WORD_BYTES: usize = 4;

/// Ten words.
const HEADER_BYTES: usize = 10 * WORD_BYTES;

/// Names of what is put in.
const COMMAND_LINE: &str = "bootargs";
const COUNTER: &str = "ebbtide,boot-counter";

/// The device tree cannot be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraftError {
    /// Its blocks do not lie in it.
    Damaged,
    /// The command line has a zero in it.
    Zero,
}

impl fmt::Display for GraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "it is damaged",
            Self::Zero => "the command line has a zero in it",
        })
    }
}

impl core::error::Error for GraftError {}

/// Returns a copy of `tree`, whose node `/chosen` is `chosen`, with this command line, and the counter as
/// `ebbtide,boot-counter` in that node.
///
/// # Errors
///
/// Why there can be none.
pub fn graft(
    tree: &[u8],
    chosen: &FdtNode<'_, '_>,
    command_line: &str,
    counter_at_start: u64,
) -> Result<Vec<u8>, GraftError> {
    if command_line.contains('\0') {
        return Err(GraftError::Zero);
    }
    let blocks = Blocks::read(tree).ok_or(GraftError::Damaged)?;
    let (structure, strings) = (tree.get(blocks.structure.clone()), tree.get(blocks.strings.clone()));
    let (structure, strings) = structure.zip(strings).ok_or(GraftError::Damaged)?;
    let splice = Splice::find(structure, chosen).ok_or(GraftError::Damaged)?;

    let mut copy = Vec::with_capacity(HEADER_BYTES + tree.len().min(blocks.used() + 256 + command_line.len()));
    copy.resize(HEADER_BYTES.next_multiple_of(8), 0);
    let reservations = copy.len();
    copy.extend_from_slice(tree.get(blocks.reservations.clone()).ok_or(GraftError::Damaged)?);

    let structure_start = copy.len();
    copy.extend_from_slice(&structure[..splice.insert_at]);
    let name = strings.len() as u32;
    property(&mut copy, name, &[command_line.as_bytes(), &[0]]);
    property(&mut copy, name + COMMAND_LINE.len() as u32 + 1, &[&counter_at_start.to_be_bytes()]);
    copy.extend_from_slice(&structure[splice.insert_at..splice.leave_out.start]);
    copy.extend_from_slice(&structure[splice.leave_out.end..]);

    let strings_start = copy.len();
    copy.extend_from_slice(strings);
    for text in [COMMAND_LINE, COUNTER] {
        copy.extend_from_slice(text.as_bytes());
        copy.push(0);
    }

    let end = copy.len();
    let words = [(1, end), (2, structure_start), (3, strings_start), (4, reservations)];
    let sizes = [(8, end - strings_start), (9, strings_start - structure_start)];
    copy[..HEADER_BYTES].copy_from_slice(&tree[..HEADER_BYTES]);
    for (at, value) in words.into_iter().chain(sizes) {
        copy[at * WORD_BYTES..][..WORD_BYTES].copy_from_slice(&(value as u32).to_be_bytes());
    }
    Ok(copy)
}

fn property(copy: &mut Vec<u8>, name: u32, parts: &[&[u8]]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    for word in [PROPERTY, bytes as u32, name] {
        copy.extend_from_slice(&word.to_be_bytes());
    }
    for part in parts {
        copy.extend_from_slice(part);
    }
    copy.resize(copy.len().next_multiple_of(WORD_BYTES), 0);
}

/// Where the parts of a tree lie in it.
struct Blocks {
    reservations: Range<usize>,
    structure: Range<usize>,
    strings: Range<usize>,
}

impl Blocks {
    fn read(tree: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = tree.get(at * WORD_BYTES..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes) as usize)
        };
        let block = |start: usize, bytes: usize| Some(start..start.checked_add(bytes)?);
        // Pairs of address and length, up to one of zeros.
        let reservations = word(4)?;
        let pairs = tree.get(reservations..)?.chunks_exact(16).position(|pair| pair.iter().all(|byte| *byte == 0))?;
        Some(Self {
            reservations: block(reservations, (pairs + 1) * 16)?,
            structure: block(word(2)?, word(9)?)?,
            strings: block(word(3)?, word(8)?)?,
        })
    }

    fn used(&self) -> usize {
        self.reservations.len() + self.structure.len() + self.strings.len()
    }
}

/// Where the structure changes, in bytes from its start.
struct Splice {
    /// Behind the name of `/chosen`, before its first property.
    insert_at: usize,
    /// The command line that was there, or nothing.
    leave_out: Range<usize>,
}

impl Splice {
    fn find(structure: &[u8], chosen: &FdtNode<'_, '_>) -> Option<Self> {
        let offset = |bytes: &[u8]| bytes.as_ptr().addr().checked_sub(structure.as_ptr().addr());
        let insert_at = (offset(chosen.name.as_bytes())? + chosen.name.len() + 1).next_multiple_of(WORD_BYTES);
        let leave_out = match chosen.property(COMMAND_LINE) {
            Some(line) => {
                let start = offset(line.value)?;
                start.checked_sub(PROPERTY_HEADER_BYTES)?..(start + line.value.len()).next_multiple_of(WORD_BYTES)
            }
            None => insert_at..insert_at,
        };
        let in_order = insert_at <= leave_out.start && leave_out.end <= structure.len();
        in_order.then_some(Self { insert_at, leave_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fdt::Fdt;
    use vm_fdt::FdtWriter;

    /// A tree with a device, the given command line and something behind it in `/chosen`.
    fn tree(command_line: Option<&str>) -> Vec<u8> {
        let mut writer = FdtWriter::new().unwrap();
        let root = writer.begin_node("").unwrap();
        writer.property_u32("#address-cells", 2).unwrap();
        let chosen = writer.begin_node("chosen").unwrap();
        if let Some(line) = command_line {
            writer.property_string("bootargs", line).unwrap();
        }
        writer.property_string("stdout-path", "/uart").unwrap();
        writer.end_node(chosen).unwrap();
        let uart = writer.begin_node("uart").unwrap();
        writer.property_string("compatible", "arm,pl011").unwrap();
        writer.end_node(uart).unwrap();
        writer.end_node(root).unwrap();
        let mut tree = writer.finish().unwrap();
        // As QEMU's, which has a great deal of room at its end.
        tree.resize(1 << 16, 0);
        let bytes = tree.len() as u32;
        tree[4..8].copy_from_slice(&bytes.to_be_bytes());
        tree
    }

    fn grafted(tree: &[u8], command_line: &str) -> Result<Vec<u8>, GraftError> {
        let read = Fdt::new(tree).unwrap();
        graft(tree, &read.find_node("/chosen").unwrap(), command_line, 0x0123_4567_89ab)
    }

    #[test]
    fn the_copy_says_what_the_tree_said_and_what_was_put_in() {
        for before in [None, Some(""), Some("a"), Some("stub=x app words")] {
            for line in ["", "app", "app with more words"] {
                let copy = grafted(&tree(before), line).unwrap();
                assert!(copy.len() < 600, "{} bytes", copy.len());
                let read = Fdt::new(&copy).unwrap();
                assert_eq!(read.total_size(), copy.len());
                let chosen = read.find_node("/chosen").unwrap();
                let names: Vec<_> = chosen.properties().map(|property| property.name).collect();
                assert_eq!(names, [COMMAND_LINE, COUNTER, "stdout-path"]);
                assert_eq!(read.chosen().bootargs(), Some(line));
                assert_eq!(chosen.property(COUNTER).unwrap().value, 0x0123_4567_89ab_u64.to_be_bytes());
                assert_eq!(chosen.property("stdout-path").unwrap().as_str(), Some("/uart"));
                assert!(read.find_compatible(&["arm,pl011"]).is_some());
            }
        }
    }

    #[test]
    fn what_cannot_be_copied_is_an_error() {
        let tree = tree(None);
        assert_eq!(grafted(&tree, "a\0b"), Err(GraftError::Zero));
        let read = Fdt::new(&tree).unwrap();
        let chosen = read.find_node("/chosen").unwrap();
        assert_eq!(graft(&[0; 100], &chosen, "", 0), Err(GraftError::Damaged), "another tree's node");
        assert_eq!(graft(&tree[..100], &chosen, "", 0), Err(GraftError::Damaged), "cut off");
    }
}
