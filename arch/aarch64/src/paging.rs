//! Translation tables and TLB.
//!
//! One root serves both halves. With T0SZ = T1SZ = 17 each half has 47 bits, so bit 47 is the same as all above it, as on
//! x86_64, and a lookup begins with bits 46:39: 256 descriptors (D8.2.8). TTBR0 names the first half of the root table,
//! TTBR1 the second, which lies 2 KiB into it: aligned to its own size, as a table base must be. What lies between
//! 0000_8000_0000_0000 and ffff_7fff_ffff_ffff faults, and no address has a second name.
//!
//! Only the valid bit of a stack page's descriptor ever changes: the same frame with the same attributes comes and goes.
//! So break-before-make (D8.16.1), which is for a valid descriptor that becomes another valid one, is never needed, and
//! a TLB can hold nothing but the translation that was there, or will be again.
//!
//! - absent to present: no TLB caches a descriptor that gives a translation fault (D8.16.5), so nothing is invalidated;
//!   the store must be complete before a walk for the new page begins, and a fetch or access that follows must not have
//!   been translated early: `dsb ishst; isb` (D8.2.6).
//! - present to absent: one store. The old translation may stay in use as long as the frame is the page's own, which it
//!   is until it is freed, behind [`Paging::invalidate_everywhere`].
#![expect(unsafe_code, reason = "changes what addresses mean")]

use core::arch::{asm, naked_asm};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, Readable, SCTLR_EL1, TCR_EL1};
use ebbtide_core::arch::{Access, Paging, StackEntry, TableEntry};
use ebbtide_core::{PhysAddr, System, VirtAddr};

use crate::{Aarch64, descriptor};

/// Bits of an address that are not translated, in each half.
const UNTRANSLATED: u64 = 17;

/// From the root table to the descriptors of the upper half, in bytes.
const UPPER_HALF: u64 = 256 * 8;

/// SCTLR_EL1 bits that aarch64-cpu has no names for, all 1 where they are reserved (D24.2.149): LSMAOE and nTLSMD (29,
/// 28), EIS (22), TSCXT (20), EOS (11).
const RESERVED_AS_ONE: u64 = 1 << 29 | 1 << 28 | 1 << 22 | 1 << 20 | 1 << 11;
/// SPAN: an exception leaves PSTATE.PAN alone. Reserved as 1 on a CPU without PAN.
const LEAVE_PAN: u64 = 1 << 23;
/// TIDCP: EL0 gets at no system register of an implementation's own. Only with FEAT_TIDCP1.
const TRAP_OWN_REGISTERS: u64 = 1 << 63;
/// ID_AA64MMFR1_EL1.TIDCP1: not 0 with FEAT_TIDCP1 (D24.2.64).
const HAS_TRAP_OF_OWN_REGISTERS: u64 = 0b1111 << 52;

// SAFETY: the bits are those of the manual, and `decode` undoes `encode` (see `descriptor`).
unsafe impl Paging for Aarch64 {
    const GENERATION_BITS: u32 = descriptor::GENERATION_BITS;

    const ACCESSED: u64 = descriptor::ACCESS_FLAG;

    fn encode_table(table: PhysAddr) -> u64 {
        descriptor::encode_table(table)
    }

    fn encode_leaf(frame: PhysAddr, access: Access, level: u32) -> u64 {
        descriptor::encode_leaf(frame, access, level)
    }

    fn decode(entry: u64, level: u32) -> TableEntry {
        descriptor::decode(entry, level)
    }

    #[inline]
    fn encode_stack(entry: StackEntry) -> u64 {
        descriptor::encode_stack(entry)
    }

    #[inline]
    fn decode_stack(entry: u64) -> StackEntry {
        descriptor::decode_stack(entry)
    }

    #[inline]
    fn publish() {
        barrier::dsb(barrier::ISHST);
        barrier::isb(barrier::SY);
    }

    #[inline]
    fn invalidate_local(page: VirtAddr) {
        barrier::dsb(barrier::NSHST);
        // SAFETY: drops a translation of this CPU, for all ASIDs; the tables say what it is.
        unsafe { asm!("tlbi vaae1, {}", in(reg) operand(page), options(nostack, preserves_flags)) };
        barrier::dsb(barrier::NSH);
        barrier::isb(barrier::SY);
    }

    fn invalidate_all_local() {
        barrier::dsb(barrier::NSHST);
        // SAFETY: drops every translation of EL1 and EL0 on this CPU; the tables say what they are.
        unsafe { asm!("tlbi vmalle1", options(nostack, preserves_flags)) };
        barrier::dsb(barrier::NSH);
        barrier::isb(barrier::SY);
    }

    fn invalidate_everywhere<S: System>(pages: impl Iterator<Item = VirtAddr>) {
        // What the entries say now is visible to every walker before the first invalidation (D8.17.6).
        barrier::dsb(barrier::ISHST);
        pages.for_each(|page| {
            // SAFETY: as above, on every CPU of the inner shareable domain.
            unsafe { asm!("tlbi vaae1is, {}", in(reg) operand(page), options(nostack, preserves_flags)) };
        });
        // Every CPU has done so, and has finished the accesses that used the old translations.
        barrier::dsb(barrier::ISH);
        barrier::isb(barrier::SY);
    }

    unsafe fn activate(root: PhysAddr) {
        let (tables, controls) = (root.as_u64(), controls());
        barrier::dsb(barrier::ISH);
        // SAFETY: by the caller's promise the tables map this code, where it is now; and the image lies at its physical
        // address.
        unsafe { replace_tables(tables, tables + UPPER_HALF, translation(), descriptor::MEMORY_ATTRIBUTES, controls) };
    }
}

/// What a TLBI by address takes: the page number; ASID and level hint are 0.
const fn operand(page: VirtAddr) -> u64 {
    page.as_usize() as u64 >> 12 & ((1 << 44) - 1)
}

/// TCR_EL1. HA, the CPU sets access flags itself, where it can (FEAT_HAFDBS); elsewhere a clear one is a fault, whose
/// handler sets it. HD is clear: no walker notes what was written.
fn translation() -> u64 {
    let sets_access_flags = ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::HAFDBS) != 0;
    // At most 48 bits: a descriptor holds no more in this format.
    let physical_bits = ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange).min(0b101);
    (TCR_EL1::T0SZ.val(UNTRANSLATED)
        + TCR_EL1::TG0::KiB_4
        + TCR_EL1::SH0::Inner
        + TCR_EL1::ORGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::IRGN0::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::T1SZ.val(UNTRANSLATED)
        + TCR_EL1::TG1::KiB_4
        + TCR_EL1::SH1::Inner
        + TCR_EL1::ORGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::IRGN1::WriteBack_ReadAlloc_WriteAlloc_Cacheable
        + TCR_EL1::IPS.val(physical_bits)
        + TCR_EL1::HA.val(sets_access_flags.into()))
    .value
}

/// SCTLR_EL1: MMU, caches and the check of the stack pointer's alignment on, everything of EL0's trapped or off. WXN
/// is clear, since the first tables say execute and write; the final ones never say both.
fn controls() -> u64 {
    let on = SCTLR_EL1::M::Enable + SCTLR_EL1::C::Cacheable + SCTLR_EL1::I::Cacheable + SCTLR_EL1::SA::Enable;
    let has_pan = ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::PAN) != 0;
    let traps_own_registers = ID_AA64MMFR1_EL1.get() & HAS_TRAP_OF_OWN_REGISTERS != 0;
    on.value
        | RESERVED_AS_ONE
        | if has_pan { 0 } else { LEAVE_PAN }
        | if traps_own_registers { TRAP_OWN_REGISTERS } else { 0 }
}

/// Replaces the tables, with the MMU off: whatever the tables before said, of this address and of others, with which
/// sizes of pages, attributes and registers, nothing of it is left in a TLB when the new ones come into use.
///
/// Nothing but instructions is touched meanwhile. They are fetched from where they were written to: the lines are cleaned
/// to the point of coherency first, since with the MMU off a fetch may look nowhere else (D8.2.12, D7.5.5). All lines of
/// this function are, so that from then on a CPU may come here with its MMU off already. It keeps x11 and above.
///
/// # Safety
///
/// Interrupts are off; this code lies at its physical address, and the new tables map it there and the stack where
/// it is.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn replace_tables(
    lower: u64,
    upper: u64,
    translation: u64,
    attributes: u64,
    controls: u64,
) {
    naked_asm!(
        "5: adr x9, 5b",
        "adr x10, 3f",
        // 16 bytes are the shortest line there can be.
        "4: dc cvac, x9",
        "add x9, x9, #16",
        "cmp x9, x10",
        "b.lo 4b",
        "dc cvac, x10",
        "dsb sy",
        "bic x9, x4, {MMU}",
        "2:",
        "msr sctlr_el1, x9",
        "isb",
        "msr ttbr0_el1, x0",
        "msr ttbr1_el1, x1",
        "msr tcr_el1, x2",
        "msr mair_el1, x3",
        "isb",
        "tlbi vmalle1",
        "dsb nsh",
        "isb",
        "msr sctlr_el1, x4",
        "isb",
        "3:",
        "ret",
        MMU = const 1u64,
    )
}
