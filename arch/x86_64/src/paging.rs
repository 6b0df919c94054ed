//! Page table entries and TLB. Sections are those of the Intel SDM, volume 3.
//!
//! ```text
//! stack page, present:  NX | 0 | frame (51:12) | 0 | G | 0 | D A | 0 0 0 | W | P=1
//! stack page, resting:   0 | generation (10:0) (62:52) | !frame (51:12) | generation (21:11) (11:1) | P=0
//! ```
//!
//! Hardware ignores every other bit of an entry whose P is 0 (4.5.4). The frame number of a resting page is inverted,
//! so that a CPU which speculates past P (L1TF) finds an address that no cache holds.
#![expect(unsafe_code, reason = "changes what addresses mean")]

use ebbtide_core::arch::{Access, Paging, StackEntry, TableEntry};
use ebbtide_core::{PhysAddr, System, VirtAddr, shootdown};
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};
use x86_64::structures::paging::{PageTableFlags, PhysFrame};

use crate::X86_64;

/// The frame's address in an entry.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Bits of the generation in each of the two places.
const HALF: u32 = 11;
const HALF_MASK: u64 = (1 << HALF) - 1;

/// Accessed and Dirty are set in every leaf, so that no walker writes one; but where the policy asks what was accessed, core clears
/// Accessed in those of stacks. Dirty without it is what a walker leaves alone, as long as the page is writable (else it would be one
/// of a shadow stack, 4.6.1).
const LEAF: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::ACCESSED).union(PageTableFlags::DIRTY);

const STACK: PageTableFlags =
    LEAF.union(PageTableFlags::GLOBAL).union(PageTableFlags::WRITABLE).union(PageTableFlags::NO_EXECUTE);

const GLOBAL_DATA: PageTableFlags =
    PageTableFlags::GLOBAL.union(PageTableFlags::NO_EXECUTE).union(PageTableFlags::WRITABLE);

// SAFETY: the bits are those of the SDM (4.5), and `decode` undoes `encode` (see the tests).
unsafe impl Paging for X86_64 {
    const GENERATION_BITS: u32 = 2 * HALF;

    const ACCESSED: u64 = PageTableFlags::ACCESSED.bits();

    fn encode_table(table: PhysAddr) -> u64 {
        // What user mode may do, the leaves say.
        let flags = PageTableFlags::PRESENT
            | PageTableFlags::WRITABLE
            | PageTableFlags::ACCESSED
            | PageTableFlags::USER_ACCESSIBLE;
        table.as_u64() | flags.bits()
    }

    fn encode_leaf(frame: PhysAddr, access: Access, level: u32) -> u64 {
        let mut flags = LEAF
            | match access {
                // Not global: in the user's view it is the user's.
                Access::ReadOnly => PageTableFlags::NO_EXECUTE,
                Access::Execute => PageTableFlags::empty(),
                Access::UserReadOnly => PageTableFlags::NO_EXECUTE | PageTableFlags::USER_ACCESSIBLE,
                Access::UserExecute => PageTableFlags::USER_ACCESSIBLE,
                Access::ReadWrite => GLOBAL_DATA,
                Access::UserReadWrite => GLOBAL_DATA | PageTableFlags::USER_ACCESSIBLE,
                Access::Device => GLOBAL_DATA | PageTableFlags::NO_CACHE,
                Access::Boot => PageTableFlags::GLOBAL | PageTableFlags::WRITABLE,
            };
        flags.set(PageTableFlags::HUGE_PAGE, level > 0);
        frame.as_u64() | flags.bits()
    }

    fn decode(entry: u64, level: u32) -> TableEntry {
        let flags = PageTableFlags::from_bits_truncate(entry);
        let address = PhysAddr::new(entry & FRAME);
        match (flags.contains(PageTableFlags::PRESENT), level, flags.contains(PageTableFlags::HUGE_PAGE)) {
            (false, _, _) => TableEntry::Absent,
            (true, 0, _) | (true, _, true) => TableEntry::Leaf(address),
            (true, _, false) => TableEntry::Table(address),
        }
    }

    #[inline]
    fn encode_stack(entry: StackEntry) -> u64 {
        match entry {
            StackEntry::Empty => 0,
            StackEntry::Present { frame } => frame.as_u64() | STACK.bits(),
            StackEntry::Resting { frame, generation } => {
                let generation = u64::from(generation);
                (!frame.as_u64() & FRAME) | (generation & HALF_MASK) << 52 | (generation >> HALF & HALF_MASK) << 1
            }
        }
    }

    #[inline]
    fn decode_stack(entry: u64) -> StackEntry {
        if entry == 0 {
            StackEntry::Empty
        } else if entry & PageTableFlags::PRESENT.bits() != 0 {
            StackEntry::Present { frame: PhysAddr::new(entry & FRAME) }
        } else {
            let generation = (entry >> 52 & HALF_MASK) | (entry >> 1 & HALF_MASK) << HALF;
            StackEntry::Resting { frame: PhysAddr::new(!entry & FRAME), generation: generation as u32 }
        }
    }

    #[inline]
    fn publish() {
        // An entry that was not present is cached by no TLB (4.10.2.3), and stores become visible in order.
    }

    #[inline]
    fn invalidate_local(page: VirtAddr) {
        tlb::flush(x86_64::VirtAddr::new(page.as_u64()));
    }

    fn invalidate_all_local() {
        let cr4 = Cr4::read();
        // SAFETY: a change of PGE invalidates everything, global translations included (4.10.4.1).
        unsafe { Cr4::write(cr4 - Cr4Flags::PAGE_GLOBAL) };
        // SAFETY: puts back what was there.
        unsafe { Cr4::write(cr4) };
    }

    fn invalidate_everywhere<S: System>(pages: impl Iterator<Item = VirtAddr>) {
        shootdown::invalidate_everywhere::<S>(pages);
    }

    unsafe fn activate(root: PhysAddr) {
        let cr4 = Cr4::read();
        // SAFETY: global translations of the tables before must go as well, which a write to CR3 alone does not do
        // (4.10.4.1).
        unsafe { Cr4::write(cr4 - Cr4Flags::PAGE_GLOBAL) };
        let (_, flags) = Cr3::read();
        // SAFETY: the caller vouches for the tables.
        unsafe { Cr3::write(PhysFrame::containing_address(x86_64::PhysAddr::new(root.as_u64())), flags) };
        // SAFETY: puts back what was there.
        unsafe { Cr4::write(cr4) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(number: u64) -> PhysAddr {
        PhysAddr::new(number << 12)
    }

    proptest! {
        #[test]
        fn stack_entries_survive_their_encoding(number in 1..1u64 << 40, generation in 0..1u32 << 22) {
            for entry in [
                StackEntry::Present { frame: frame(number) },
                StackEntry::Resting { frame: frame(number), generation },
            ] {
                prop_assert_eq!(X86_64::decode_stack(X86_64::encode_stack(entry)), entry);
            }
        }

        #[test]
        fn a_resting_entry_is_absent_and_does_not_name_its_frame(number in 1..1u64 << 36, generation in 0..1u32 << 22) {
            let entry = X86_64::encode_stack(StackEntry::Resting { frame: frame(number), generation });
            prop_assert_eq!(entry & 1, 0);
            prop_assert_ne!(entry & FRAME, number << 12);
            prop_assert_eq!(X86_64::decode(entry, 0), TableEntry::Absent);
        }

        #[test]
        fn leaves_and_tables_survive_their_encoding(number in 0..1u64 << 31, level in 0..2u32) {
            let address = PhysAddr::new(number << 21);
            for access in [Access::ReadOnly, Access::ReadWrite, Access::Execute, Access::Device] {
                let entry = X86_64::encode_leaf(address, access, level);
                prop_assert_eq!(X86_64::decode(entry, level), TableEntry::Leaf(address));
                let flags = PageTableFlags::from_bits_truncate(entry);
                let writable = flags.contains(PageTableFlags::WRITABLE);
                prop_assert!(!writable || flags.contains(PageTableFlags::NO_EXECUTE), "W^X");
            }
            prop_assert_eq!(X86_64::decode(X86_64::encode_table(address), level + 1), TableEntry::Table(address));
        }
    }

    #[test]
    fn empty_is_the_entry_of_a_new_table() {
        assert_eq!(X86_64::decode_stack(0), StackEntry::Empty);
        assert_eq!(X86_64::encode_stack(StackEntry::Empty), 0);
    }
}
