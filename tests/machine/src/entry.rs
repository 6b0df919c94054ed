//! The machine's page-table entries.
//!
//! ```text
//! bit 0      valid
//! bit 1      a table (valid), or resting (not valid)
//! bit 2      writable
//! bit 5, 6   Accessed, Dirty: the walker sets them
//! bits 12-39 frame or table
//! bits 40-63 generation (resting)
//! ```

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::{Access, StackEntry, TableEntry};

const VALID: u64 = 1;
const TABLE_OR_RESTING: u64 = 1 << 1;
const WRITABLE: u64 = 1 << 2;
/// Set by a walker that uses the entry.
pub const ACCESSED: u64 = 1 << 5;
/// Set by a walker that writes through the entry.
pub const DIRTY: u64 = 1 << 6;
const FRAME: u64 = 0xff_ffff_f000;
const GENERATION_SHIFT: u32 = 40;

/// Most bits that a generation may have here.
pub const MAX_GENERATION_BITS: u32 = 24;

/// Encodes a pointer to a table.
pub fn encode_table(table: PhysAddr) -> u64 {
    table.as_u64() | VALID | TABLE_OR_RESTING
}

/// Encodes a leaf outside of the stack range.
pub fn encode_leaf(frame: PhysAddr, access: Access) -> u64 {
    let writable = if matches!(access, Access::ReadOnly | Access::Execute | Access::UserReadOnly | Access::UserExecute)
    {
        0
    } else {
        WRITABLE
    };
    frame.as_u64() | VALID | writable
}

/// Decodes an entry above or beside the stack range.
pub fn decode(entry: u64, level: u32) -> TableEntry {
    let address = PhysAddr::new(entry & FRAME);
    match entry & (VALID | TABLE_OR_RESTING) {
        0 | TABLE_OR_RESTING => TableEntry::Absent,
        VALID => TableEntry::Leaf(address),
        _ if level == 0 => TableEntry::Leaf(address),
        _ => TableEntry::Table(address),
    }
}

/// Encodes a leaf entry of the stack range.
pub fn encode_stack(entry: StackEntry) -> u64 {
    match entry {
        StackEntry::Empty => 0,
        StackEntry::Present { frame } => frame.as_u64() | VALID | WRITABLE | ACCESSED | DIRTY,
        StackEntry::Resting { frame, generation } => {
            frame.as_u64() | TABLE_OR_RESTING | WRITABLE | ACCESSED | DIRTY | u64::from(generation) << GENERATION_SHIFT
        }
    }
}

/// Decodes a leaf entry of the stack range.
pub fn decode_stack(entry: u64) -> StackEntry {
    let frame = PhysAddr::new(entry & FRAME);
    match entry & (VALID | TABLE_OR_RESTING) {
        0 => StackEntry::Empty,
        TABLE_OR_RESTING => StackEntry::Resting { frame, generation: (entry >> GENERATION_SHIFT) as u32 },
        _ => StackEntry::Present { frame },
    }
}

/// Says whether a walker finds a translation in a leaf entry.
pub fn is_valid(entry: u64) -> bool {
    entry & VALID != 0
}

/// Says whether a walker finds a translation in a leaf entry that was never used.
pub fn is_unaccessed(entry: u64) -> bool {
    is_valid(entry) && entry & ACCESSED == 0
}

/// What a walker makes of a valid leaf entry that it uses.
pub fn used(entry: u64, store: bool) -> u64 {
    entry | ACCESSED | if store { DIRTY } else { 0 }
}

/// Says whether a store through the entry needs no walk.
pub fn is_dirty(entry: u64) -> bool {
    entry & DIRTY != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_survive_their_encoding(frame in 1..1u64 << 28, generation in 0..1u32 << MAX_GENERATION_BITS) {
            let frame = PhysAddr::new(frame << 12);
            for entry in [StackEntry::Empty, StackEntry::Present { frame }, StackEntry::Resting { frame, generation }] {
                prop_assert_eq!(decode_stack(encode_stack(entry)), entry);
                prop_assert_eq!(is_valid(encode_stack(entry)), matches!(entry, StackEntry::Present { .. }));
            }
            prop_assert_eq!(decode(encode_table(frame), 2), TableEntry::Table(frame));
            prop_assert_eq!(decode(encode_leaf(frame, Access::ReadWrite), 0), TableEntry::Leaf(frame));
            let present = encode_stack(StackEntry::Present { frame });
            prop_assert_eq!(used(present, true), present);
        }
    }
}
