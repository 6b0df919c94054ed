//! The way in: Xen's PVH protocol, which QEMU, Cloud Hypervisor and Firecracker start ELF files with.
//!
//! A note in the file names a 32-bit entry point (<https://xenbits.xen.org/docs/unstable/misc/pvh.html>). The CPU
//! arrives there in protected mode, paging and interrupts off, ebx with the physical address of the start information
//! and no stack. The first instruction reads the counter: boot time is counted from here.

#![expect(unsafe_code, reason = "the machine's first instructions")]

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};

use super::start_info;
use super::tables::{CODE_SELECTOR, DATA_SELECTOR, ROOT, SEGMENTS_POINTER};
use crate::boot::{self, Handover};

/// Size of the loader's own stack, in bytes.
const STACK_BYTES: usize = 64 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the CPU that boots uses it.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// The CPU's cycle counter at the first instruction.
static COUNTER_AT_START: AtomicU64 = AtomicU64::new(0);

/// The number of the model-specific register EFER.
const EFER: u32 = 0xc000_0080;

/// XEN_ELFNOTE_PHYS32_ENTRY.
const PHYS32_ENTRY: u32 = 18;

/// The note that names the entry point; a program has one, in the section `.note.Xen`.
///
/// Its alignment must be 4, and so that of its segment: QEMU pads the name to the segment's alignment.
#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug)]
pub struct PvhNote {
    name_bytes: u32,
    description_bytes: u32,
    kind: u32,
    name: [u8; 4],
    entry: extern "C" fn() -> !,
}

impl PvhNote {
    /// Returns the note for a loader that hands over as `H` does.
    #[must_use]
    pub const fn new<H: Handover>() -> Self {
        Self {
            name_bytes: 4,
            description_bytes: size_of::<extern "C" fn() -> !>() as u32,
            kind: PHYS32_ENTRY,
            name: *b"Xen\0",
            entry: start::<H>,
        }
    }
}

const _: () = assert!(
    core::mem::offset_of!(PvhNote, entry).is_multiple_of(4) && size_of::<PvhNote>() == 24,
    "a note's description follows its name without a gap"
);

/// The first instructions: note the counter, switch to 64 bits, take a stack.
///
/// The tables are constant and the loader lies below 4 GiB, so that 32-bit code can name them.
#[unsafe(naked)]
extern "C" fn start<H: Handover>() -> ! {
    naked_asm!(
        ".code32",
        "rdtsc",
        "mov dword ptr [{counter}], eax",
        "mov dword ptr [{counter} + 4], edx",
        "cli",
        "cld",
        "mov esp, offset {stack} + {stack_bytes}",
        // 64-bit mode: PAE, the tables, long mode enabled, paging on, a 64-bit code segment.
        "mov eax, {cr4}",
        "mov cr4, eax",
        "mov eax, offset {root}",
        "mov cr3, eax",
        "mov ecx, {efer}",
        "rdmsr",
        "or eax, {long_mode}",
        "wrmsr",
        "mov eax, {cr0}",
        "mov cr0, eax",
        "lgdt [{segments}]",
        "push {code}",
        "lea eax, [2f]",
        "push eax",
        "retf",
        ".code64",
        "2:",
        "mov eax, {data}",
        "mov ds, eax",
        "mov es, eax",
        "mov ss, eax",
        "xor eax, eax",
        "mov fs, eax",
        "mov gs, eax",
        "mov edi, ebx",
        "xor ebp, ebp",
        "call {main}",
        counter = sym COUNTER_AT_START,
        stack = sym STACK,
        stack_bytes = const STACK_BYTES,
        cr4 = const Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits(),
        root = sym ROOT,
        efer = const EFER,
        long_mode = const EferFlags::LONG_MODE_ENABLE.bits(),
        cr0 = const Cr0Flags::PAGING.union(Cr0Flags::WRITE_PROTECT).union(Cr0Flags::NUMERIC_ERROR)
            .union(Cr0Flags::EXTENSION_TYPE).union(Cr0Flags::PROTECTED_MODE_ENABLE).bits(),
        segments = sym SEGMENTS_POINTER,
        code = const CODE_SELECTOR,
        data = const DATA_SELECTOR,
        main = sym main::<H>,
    )
}

/// Goes on in Rust, with the physical address of the start information.
extern "sysv64" fn main<H: Handover>(start_info: u32) -> ! {
    boot::run::<H>(|| {
        // SAFETY: it is the first and only call, with the address that came with the entry.
        unsafe { start_info::read(start_info, COUNTER_AT_START.load(Ordering::Relaxed)) }
    })
}
