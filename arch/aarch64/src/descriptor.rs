//! Translation table descriptors: stage 1, 4 KiB granule, 48 bits of output address (D8.3).
//!
//! ```text
//! stack page, present:  UXN PXN (54:53) | 0 | frame (47:12) | nG=0 AF=1 (11:10) | SH=11 AP=00 (9:6) | 0 | attributes | 1 1
//! stack page, resting:   0 | generation (10:0) (62:52) | frame (47:12) | generation (21:11) (11:1) | 0
//! ```
//!
//! Hardware ignores every other bit of a descriptor whose bit 0 is clear (D8.3.1), and the frame stands there as it is:
//! what makes x86_64 invert it, a load that goes on with the address of an entry that is not present, no Arm CPU does
//! (Arm's statement on the "L1 Terminal Fault").
//!
//! AF is set in every leaf from the beginning and DBM in none, so no walker writes one; but where the policy asks what was accessed,
//! core clears AF in those of stacks. nG is set in the leaves of what the
//! image only reads and executes, in which the two views differ; all else is global. Translations are invalidated for all ASIDs. No
//! leaf has the contiguous hint.

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::{Access, StackEntry, TableEntry};

/// Bits of the generation in each of the two places.
const HALF: u32 = 11;
const HALF_MASK: u64 = (1 << HALF) - 1;

/// Generations count modulo two to this power.
pub const GENERATION_BITS: u32 = 2 * HALF;

/// The output address in a descriptor.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

const VALID: u64 = 1 << 0;
/// A table, at levels 0 to 2; a page, at level 3. Clear, at levels 1 and 2: a block (D8.3.1).
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AttrIndx: which of [`MEMORY_ATTRIBUTES`] the memory has.
const DEVICE: u64 = 1 << 2;
/// `AP[1]`: EL0 may read, and write if EL1 may; EL1 does neither while PSTATE.PAN is set (D8.4.1).
pub const USER: u64 = 1 << 6;
/// `AP[2]`: EL1 may not write.
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
/// AF: the page was accessed, or nobody asks (D8.5.1).
pub const ACCESS_FLAG: u64 = 1 << 10;
/// nG: the translation is that of one ASID.
const NOT_GLOBAL: u64 = 1 << 11;
const EL1_EXECUTE_NEVER: u64 = 1 << 53;
const EL0_EXECUTE_NEVER: u64 = 1 << 54;
const NEVER_EXECUTE: u64 = EL1_EXECUTE_NEVER | EL0_EXECUTE_NEVER;

/// What MAIR_EL1 holds: attribute 0 is normal memory, write-back, read and write allocate; attribute 1 is
/// Device-nGnRE, as drivers expect of registers (D8.6.1).
pub const MEMORY_ATTRIBUTES: u64 = 0x04_ff;

const LEAF: u64 = VALID | INNER_SHAREABLE | ACCESS_FLAG;

const STACK: u64 = LEAF | TABLE_OR_PAGE | NEVER_EXECUTE;

/// Encodes a pointer to a table. It restricts nothing: APTable, PXNTable and UXNTable are clear.
pub const fn encode_table(table: PhysAddr) -> u64 {
    table.as_usize() as u64 | TABLE_OR_PAGE | VALID
}

/// Encodes a leaf: `level` 0 (which the manual calls 3) maps 4 KiB, 1 maps 2 MiB.
pub const fn encode_leaf(frame: PhysAddr, access: Access, level: u32) -> u64 {
    let flags = match access {
        Access::ReadOnly => NOT_GLOBAL | READ_ONLY | NEVER_EXECUTE,
        Access::Execute => NOT_GLOBAL | READ_ONLY | EL0_EXECUTE_NEVER,
        Access::UserReadOnly => NOT_GLOBAL | USER | READ_ONLY | NEVER_EXECUTE,
        Access::UserExecute => NOT_GLOBAL | USER | READ_ONLY | EL1_EXECUTE_NEVER,
        Access::ReadWrite => NEVER_EXECUTE,
        Access::UserReadWrite => USER | NEVER_EXECUTE,
        Access::Device => DEVICE | NEVER_EXECUTE,
        Access::Boot => EL0_EXECUTE_NEVER,
    };
    let kind = if level == 0 { TABLE_OR_PAGE } else { 0 };
    frame.as_usize() as u64 | LEAF | flags | kind
}

/// Decodes an entry of `level`.
pub const fn decode(entry: u64, level: u32) -> TableEntry {
    let address = PhysAddr::new(entry & ADDRESS);
    match (entry & VALID != 0, level, entry & TABLE_OR_PAGE != 0) {
        (false, _, _) | (true, 0, false) => TableEntry::Absent,
        (true, 0, true) | (true, _, false) => TableEntry::Leaf(address),
        (true, _, true) => TableEntry::Table(address),
    }
}

/// Encodes a leaf entry of the stack range.
#[inline]
pub const fn encode_stack(entry: StackEntry) -> u64 {
    match entry {
        StackEntry::Empty => 0,
        StackEntry::Present { frame } => frame.as_usize() as u64 | STACK,
        StackEntry::Resting { frame, generation } => {
            let generation = generation as u64;
            frame.as_usize() as u64 | (generation & HALF_MASK) << 52 | (generation >> HALF & HALF_MASK) << 1
        }
    }
}

/// Decodes a leaf entry of the stack range.
#[inline]
pub const fn decode_stack(entry: u64) -> StackEntry {
    if entry == 0 {
        // What rests has a frame, and never frame 0: no allocator gives that.
        StackEntry::Empty
    } else if entry & VALID != 0 {
        StackEntry::Present { frame: PhysAddr::new(entry & ADDRESS) }
    } else {
        let generation = (entry >> 52 & HALF_MASK) | (entry >> 1 & HALF_MASK) << HALF;
        StackEntry::Resting { frame: PhysAddr::new(entry & ADDRESS), generation: generation as u32 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is the kernel's alone.
    const KERNEL: [Access; 4] = [Access::ReadOnly, Access::ReadWrite, Access::Execute, Access::Device];

    /// What is user mode's as well.
    const USERS: [Access; 3] = [Access::UserReadOnly, Access::UserExecute, Access::UserReadWrite];

    fn frame(number: u64) -> PhysAddr {
        PhysAddr::new(number << 12)
    }

    proptest! {
        #[test]
        fn stack_entries_survive_their_encoding(number in 1..1u64 << 36, generation in 0..1u32 << GENERATION_BITS) {
            for entry in [
                StackEntry::Present { frame: frame(number) },
                StackEntry::Resting { frame: frame(number), generation },
            ] {
                prop_assert_eq!(decode_stack(encode_stack(entry)), entry);
            }
        }

        #[test]
        fn a_resting_entry_is_absent(number in 1..1u64 << 36, generation in 0..1u32 << GENERATION_BITS) {
            let entry = encode_stack(StackEntry::Resting { frame: frame(number), generation });
            prop_assert_eq!(entry & VALID, 0);
            prop_assert_eq!(decode(entry, 0), TableEntry::Absent);
        }

        #[test]
        fn a_page_rests_and_is_taken_back_as_it_was(number in 1..1u64 << 36) {
            let present = encode_stack(StackEntry::Present { frame: frame(number) });
            prop_assert_eq!(present, encode_leaf(frame(number), Access::ReadWrite, 0));
            prop_assert_eq!(decode(present, 0), TableEntry::Leaf(frame(number)));
        }

        #[test]
        fn leaves_and_tables_survive_their_encoding(number in 0..1u64 << 27, level in 0..2u32) {
            let address = PhysAddr::new(number << 21);
            for access in KERNEL.into_iter().chain(USERS) {
                let entry = encode_leaf(address, access, level);
                prop_assert_eq!(decode(entry, level), TableEntry::Leaf(address));
                let writable = entry & READ_ONLY == 0;
                prop_assert!(!writable || entry & NEVER_EXECUTE == NEVER_EXECUTE, "W^X");
                prop_assert!(entry & 1 << 51 == 0 && entry & 1 << 52 == 0, "neither DBM nor contiguous");
                prop_assert_eq!(entry & NOT_GLOBAL == 0, writable, "global, unless the views differ in it");
                prop_assert!(entry & ACCESS_FLAG != 0, "no access flag fault");
            }
            prop_assert_eq!(decode(encode_table(address), level + 1), TableEntry::Table(address));
        }
    }

    #[test]
    fn empty_is_the_entry_of_a_new_table() {
        assert_eq!(decode_stack(0), StackEntry::Empty);
        assert_eq!(encode_stack(StackEntry::Empty), 0);
    }

    #[test]
    fn the_kernels_is_not_el0s_and_el0s_code_is_not_the_kernels() {
        for access in KERNEL {
            let entry = encode_leaf(frame(1), access, 0);
            assert!(entry & EL0_EXECUTE_NEVER != 0 && entry & USER == 0, "{access:?}");
            assert_eq!(entry & EL1_EXECUTE_NEVER == 0, access == Access::Execute, "{access:?}");
        }
        for access in USERS {
            let entry = encode_leaf(frame(1), access, 0);
            assert!(entry & USER != 0 && entry & EL1_EXECUTE_NEVER != 0, "{access:?}");
            assert_eq!(entry & EL0_EXECUTE_NEVER == 0, access == Access::UserExecute, "{access:?}");
            assert_eq!(entry & READ_ONLY == 0, access == Access::UserReadWrite, "{access:?}");
        }
    }

    #[test]
    fn only_a_device_is_not_cached() {
        let attributes = |access| MEMORY_ATTRIBUTES >> (8 * (encode_leaf(frame(1), access, 0) >> 2 & 0b111)) & 0xff;
        assert_eq!(attributes(Access::Device), 0x04);
        for access in USERS.into_iter().chain([Access::ReadOnly, Access::ReadWrite, Access::Execute, Access::Boot]) {
            assert_eq!(attributes(access), 0xff);
        }
    }
}
