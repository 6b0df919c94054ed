//! The way of a CPU from its first instruction in the kernel to `secondary::enter`.
//!
//! The firmware starts it at `__ebbtide_secondary_entry` with the MMU off, at EL1, or at EL2 where the machine has that. As
//! long as the MMU is off it reads and fetches past all caches, as from a device: what it needs must have reached memory
//! itself, not just a cache of the CPU that boots. So that CPU cleans to the point of coherency what it has written for this
//! one (`Start`), and the instructions that run meanwhile, which the loader wrote (B2.8, D7.5.9). It writes neither again:
//! each CPU has a start record of its own, for ever. Everything else, the tables' walk included, goes through the caches,
//! which all CPUs share once the MMU is on (TCR_EL1: write-back, inner shareable).
//!
//! The image lies at its physical address, and so the MMU is switched on in the middle of it.
#![expect(unsafe_code, reason = "the first instructions of a CPU")]

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::ops::Range;
use core::ptr::from_ref;
use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{MAIR_EL1, Readable, SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1};
use ebbtide_core::arch::Cpu;
use ebbtide_core::cpu::{MAX_CPUS, PerCpu};
use ebbtide_core::{PhysAddr, System, VirtAddr, secondary};
use static_assertions::const_assert;

use crate::paging::replace_tables;
use crate::{Aarch64, cpu, el2};

/// The shortest line that a cache may have, in bytes.
const SHORTEST_LINE: u64 = 16;

/// What a CPU is started with. Written by the CPU that boots; read with the MMU off.
#[repr(C, align(64))]
struct Start {
    /// TTBR0_EL1.
    lower: AtomicU64,
    /// TTBR1_EL1.
    upper: AtomicU64,
    /// TCR_EL1.
    translation: AtomicU64,
    /// MAIR_EL1.
    attributes: AtomicU64,
    /// SCTLR_EL1.
    controls: AtomicU64,
    /// SP_EL0.
    stack: AtomicU64,
    /// The address of the CPU's [`PerCpu`].
    cpu: AtomicU64,
    /// The address of [`begin`].
    begin: AtomicU64,
}

impl Start {
    const fn new() -> Self {
        Self {
            lower: AtomicU64::new(0),
            upper: AtomicU64::new(0),
            translation: AtomicU64::new(0),
            attributes: AtomicU64::new(0),
            controls: AtomicU64::new(0),
            stack: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            begin: AtomicU64::new(0),
        }
    }
}

/// By the CPU's number.
static STARTS: [Start; MAX_CPUS] = [const { Start::new() }; MAX_CPUS];

// What the entry code loads by pairs.
const_assert!(offset_of!(Start, lower) == 0);
const_assert!(offset_of!(Start, upper) == 8);
const_assert!(offset_of!(Start, attributes) == offset_of!(Start, translation) + 8);
const_assert!(offset_of!(Start, stack) == offset_of!(Start, controls) + 8);
const_assert!(offset_of!(Start, begin) == offset_of!(Start, cpu) + 8);
// A line is cleaned at least where a record begins.
const_assert!(align_of::<Start>().is_multiple_of(SHORTEST_LINE as usize));

unsafe extern "C" {
    /// The start of the instructions that run with the MMU off, apart from others' that are called.
    #[link_name = "__ebbtide_secondary_entry"]
    static ENTRY: u8;
    #[link_name = "__ebbtide_secondary_entry_end"]
    static ENTRY_END: u8;
}

// In: x0, the physical address of the CPU's start record.
global_asm!(
    ".pushsection .text.__ebbtide_secondary_entry, \"ax\"",
    ".balign 16",
    ".global __ebbtide_secondary_entry",
    "__ebbtide_secondary_entry:",
    "msr daifset, #15",
    "mov x19, x0",
    "bl {drop_to_el1}",
    "ldp x0, x1, [x19]",
    "ldp x2, x3, [x19, #{TRANSLATION}]",
    "ldp x4, x20, [x19, #{CONTROLS}]",
    "ldp x21, x22, [x19, #{CPU}]",
    // It leaves alone what is above x10.
    "bl {replace_tables}",
    "msr spsel, #0",
    "mov sp, x20",
    "mov x0, x21",
    "mov x29, xzr",
    "mov x30, xzr",
    "br x22",
    ".global __ebbtide_secondary_entry_end",
    "__ebbtide_secondary_entry_end:",
    ".popsection",
    TRANSLATION = const offset_of!(Start, translation),
    CONTROLS = const offset_of!(Start, controls),
    CPU = const offset_of!(Start, cpu),
    drop_to_el1 = sym el2::drop_to_el1,
    replace_tables = sym replace_tables,
);

/// Prepares the start of `cpu` on the stack below `stack`, with the control registers of the CPU that executes this. Returns
/// where it must begin, at EL1 or EL2 with the MMU off, and what must be in x0 then: both physical addresses.
///
/// Called once for each CPU, after [`set_trap_stacks`](ebbtide_core::arch::Traps::set_trap_stacks).
pub fn prepare<S: System>(cpu: &'static PerCpu, stack: VirtAddr) -> (PhysAddr, PhysAddr) {
    let start = &STARTS[cpu.number as usize];
    for (field, value) in [
        (&start.lower, TTBR0_EL1.get()),
        (&start.upper, TTBR1_EL1.get()),
        (&start.translation, TCR_EL1.get()),
        (&start.attributes, MAIR_EL1.get()),
        (&start.controls, SCTLR_EL1.get()),
        (&start.stack, stack.as_u64()),
        (&start.cpu, from_ref(cpu).expose_provenance() as u64),
        (&start.begin, begin::<S> as *const () as u64),
    ] {
        field.store(value, Ordering::Relaxed);
    }
    let record = from_ref(start).addr() as u64;
    clean(record..record + size_of::<Start>() as u64);
    clean((&raw const ENTRY).addr() as u64..(&raw const ENTRY_END).addr() as u64);
    clean(el2::instructions());
    // All of that is in memory, and whatever else was prepared is visible, before the firmware is called.
    barrier::dsb(barrier::SY);
    (PhysAddr::new((&raw const ENTRY).addr() as u64), PhysAddr::new(record))
}

/// Writes back what the caches hold of `range`, as far as memory that a CPU without caches reads. A DSB must follow.
fn clean(range: Range<u64>) {
    let mut address = range.start;
    while address < range.end {
        // SAFETY: writing a line back changes nothing that is in memory for this CPU; the image is mapped.
        unsafe { asm!("dc cvac, {}", in(reg) address, options(nostack, preserves_flags)) };
        address += SHORTEST_LINE;
    }
}

/// The first Rust code of another CPU: prepares it as the one that boots was, and joins the others.
///
/// # Safety
///
/// Called by the entry code alone.
unsafe extern "C" fn begin<S: System>(cpu: &'static PerCpu) -> ! {
    // SAFETY: the entry code masked everything and runs on SP_EL0; the boot CPU noted the trap stacks.
    if unsafe { cpu::init_cpu::<S>(cpu) }.is_err() {
        // It differs from the one that boots, which will miss it.
        Aarch64::halt();
    }
    // SAFETY: this is the CPU, on the stack that it was given, with the kernel's tables.
    unsafe { secondary::enter::<S>(cpu) }
}
