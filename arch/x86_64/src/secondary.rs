//! The first instructions of a secondary CPU, from real mode to [`ebbtide_core::secondary::enter`].
//!
//! ```text
//! 16 bits  a page below 1 MiB, of this CPU alone   the 4 KiB that the start-up interrupt names, at offset 0
//! 32 bits  the image                               paging off, so its code lies where the image does
//! 64 bits  the image                               paging on, and the image still lies there: virtual = physical
//! ```
//!
//! **W^X.** The code that turns paging on needs to be mapped at its physical address. The image is, by the kernel's own
//! tables, its code to be executed and not written. So there is no identity map to make and to take back, and no second root:
//! the page below 1 MiB is data for every table that there ever is, and executed only while paging is off.
//!
//! **A CPU that comes late** reads nothing that another one was given: each has a page and a `Start` of its own, which are
//! written once and never given back.
//!
//! Until the tables are loaded (`enter`) an NMI or a machine check shuts the CPU down: there is no IDT in any mode before.
#![expect(unsafe_code, reason = "the CPU's first instructions")]

use core::arch::naked_asm;
use core::mem::offset_of;
use core::ptr::from_ref;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ebbtide_core::cpu::{MAX_CPUS, PerCpu};
use ebbtide_core::{PhysAddr, System, VirtAddr, secondary};
use static_assertions::const_assert;
use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};
use x86_64::structures::gdt::DescriptorFlags;

use crate::cpu::init_secondary_cpu;

/// Room for the 16-bit code, in bytes.
const REAL_MODE_BYTES: usize = 48;

/// Selectors of the segments in [`SEGMENTS`].
const CODE_32: u16 = 8;
const CODE_64: u16 = 16;
const DATA: u16 = 24;

/// The segments that lead from 16 to 64 bits: none, code of each width, data. Flat; Accessed is set, so that the CPU does not
/// write to them.
static SEGMENTS: [u64; 4] = [
    0,
    DescriptorFlags::KERNEL_CODE32.bits(),
    DescriptorFlags::KERNEL_CODE64.bits(),
    DescriptorFlags::KERNEL_DATA.bits(),
];

const_assert!(DescriptorFlags::KERNEL_CODE32.contains(DescriptorFlags::ACCESSED));
const_assert!(DescriptorFlags::KERNEL_CODE64.contains(DescriptorFlags::ACCESSED));
const_assert!(DescriptorFlags::KERNEL_DATA.contains(DescriptorFlags::ACCESSED));

/// Where a far jump goes: offset, then selector.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct FarPointer {
    offset: u32,
    selector: u16,
}

/// What `lgdt` reads outside of 64-bit mode.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(2))]
struct SegmentsPointer {
    limit: u16,
    base: u32,
}

/// The beginning of the page below 1 MiB. The code reads the rest, at offsets from its own segment.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct RealMode {
    code: [u8; REAL_MODE_BYTES],
    segments: SegmentsPointer,
    protected_mode: FarPointer,
    /// Address of this CPU's [`Start`].
    start: u32,
}

const_assert!(offset_of!(SegmentsPointer, base) == 2);
const_assert!(offset_of!(FarPointer, selector) == 4);
const_assert!(size_of::<RealMode>() <= 4096);

/// What a CPU begins with, in the image: it is read at the same address with paging off and on.
#[derive(Debug)]
#[repr(C)]
struct Start {
    /// Not 0 once the CPU has come here.
    came: AtomicU32,
    root: AtomicU32,
    /// The offset of a [`FarPointer`], and the selector.
    long_mode: [AtomicU32; 2],
    stack: AtomicU64,
    cpu: AtomicU64,
}

static STARTS: [Start; MAX_CPUS] = [const {
    Start {
        came: AtomicU32::new(0),
        root: AtomicU32::new(0),
        long_mode: [const { AtomicU32::new(0) }; 2],
        stack: AtomicU64::new(0),
        cpu: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// Writes to `page`, a frame below 1 MiB, what `cpu` begins with when it is sent the start-up interrupt for that page. It ends
/// in [`secondary::enter`], on the stack below `stack`.
///
/// # Errors
///
/// The image lies where a CPU cannot reach it without paging.
///
/// # Safety
///
/// `cpu` is prepared and off. The frame is RAM in the kernel's window, nobody uses it, and nobody will ever.
pub unsafe fn prepare<S: System>(cpu: &'static PerCpu, stack: VirtAddr, page: PhysAddr) -> Result<(), &'static str> {
    let reach = |address: u64| {
        u32::try_from(address).map_err(|_| "the kernel lies above 4 GiB, where a CPU that starts cannot reach it")
    };
    let start = &STARTS[cpu.number as usize];
    start.root.store(reach(S::kernel().root().as_u64())?, Ordering::Relaxed);
    start.long_mode[0].store(reach(long_mode::<S> as *const () as u64)?, Ordering::Relaxed);
    start.long_mode[1].store(CODE_64.into(), Ordering::Relaxed);
    start.stack.store(stack.as_u64(), Ordering::Relaxed);
    start.cpu.store(from_ref(cpu) as u64, Ordering::Relaxed);
    let code = (real_mode as *const ()).cast::<[u8; REAL_MODE_BYTES]>();
    let begin = RealMode {
        // SAFETY: the function is as long as that, see there.
        code: unsafe { code.read() },
        segments: SegmentsPointer { limit: size_of_val(&SEGMENTS) as u16 - 1, base: reach(SEGMENTS.as_ptr() as u64)? },
        protected_mode: FarPointer { offset: reach(protected_mode as *const () as u64)?, selector: CODE_32 },
        start: reach(from_ref(start) as u64)?,
    };
    // SAFETY: the caller gives a frame, which is larger and aligned.
    unsafe { S::kernel().window().pointer::<RealMode>(page).write(begin) };
    Ok(())
}

/// Says whether a CPU that was prepared has come as far as the image.
pub fn has_come(cpu: &PerCpu) -> bool {
    STARTS[cpu.number as usize].came.load(Ordering::Relaxed) != 0
}

/// 16 bits, copied: to protected mode.
///
/// cs is the page, so that it can run in any. CR0 begins with the caches off.
#[unsafe(naked)]
extern "C" fn real_mode() {
    naked_asm!(
        ".code16",
        "2:",
        "cli",
        "cld",
        "movw %cs, %ax",
        "movw %ax, %ds",
        "movl {start}, %ebx",
        "lgdtl {segments}",
        "movl ${cr0}, %eax",
        "movl %eax, %cr0",
        "ljmpl *{protected_mode}",
        // Refused by the assembler if there is more code than that.
        ".org 2b + {bytes}, 0xcc",
        ".code64",
        start = const offset_of!(RealMode, start),
        segments = const offset_of!(RealMode, segments),
        cr0 = const CR0.bits(),
        protected_mode = const offset_of!(RealMode, protected_mode),
        bytes = const REAL_MODE_BYTES,
        options(att_syntax),
    )
}

/// CR0 in protected mode, until paging comes on.
const CR0: Cr0Flags = Cr0Flags::PROTECTED_MODE_ENABLE.union(Cr0Flags::EXTENSION_TYPE).union(Cr0Flags::NUMERIC_ERROR);

/// 32 bits, ebx with the address of [`Start`]: the kernel's tables, and to 64-bit mode.
#[unsafe(naked)]
extern "C" fn protected_mode() {
    naked_asm!(
        ".code32",
        "movl ${data}, %eax",
        "movl %eax, %ds",
        "movl %eax, %es",
        "movl %eax, %ss",
        "movl %eax, {came}(%ebx)",
        "movl ${cr4}, %eax",
        "movl %eax, %cr4",
        "movl {root}(%ebx), %eax",
        "movl %eax, %cr3",
        "movl ${efer}, %ecx",
        "rdmsr",
        "orl ${efer_bits}, %eax",
        "wrmsr",
        "movl ${cr0}, %eax",
        "movl %eax, %cr0",
        "ljmpl *{long_mode}(%ebx)",
        ".code64",
        data = const DATA,
        came = const offset_of!(Start, came),
        cr4 = const Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits(),
        root = const offset_of!(Start, root),
        efer = const 0xc000_0080u32,
        efer_bits = const EferFlags::LONG_MODE_ENABLE.union(EferFlags::NO_EXECUTE_ENABLE).bits(),
        cr0 = const CR0.union(Cr0Flags::PAGING).union(Cr0Flags::WRITE_PROTECT).bits() as u32,
        long_mode = const offset_of!(Start, long_mode),
        options(att_syntax),
    )
}

/// 64 bits, ebx with the address of [`Start`]: the stack, and on in Rust.
#[unsafe(naked)]
extern "C" fn long_mode<S: System>() {
    naked_asm!(
        // The upper half is undefined after the change of mode.
        "mov ebx, ebx",
        "mov rsp, [rbx + {stack}]",
        "mov rdi, [rbx + {cpu}]",
        "xor ebp, ebp",
        "call {enter}",
        "ud2",
        stack = const offset_of!(Start, stack),
        cpu = const offset_of!(Start, cpu),
        enter = sym enter::<S>,
    )
}

extern "sysv64" fn enter<S: System>(cpu: *const PerCpu) -> ! {
    // SAFETY: it came from a reference, see `prepare`.
    let cpu: &'static PerCpu = unsafe { &*cpu };
    // SAFETY: this is that CPU, here for the first time, with interrupts off; it was prepared.
    unsafe { init_secondary_cpu(cpu) };
    // SAFETY: as above, on the stack that was given with it.
    unsafe { secondary::enter::<S>(cpu) }
}
