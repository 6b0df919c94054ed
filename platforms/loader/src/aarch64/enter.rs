//! The jump into the kernel, as hermit-entry's `Entry` has it.

#![expect(unsafe_code, reason = "leaves the loader for good, on another stack")]

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::ops::Range;

use hermit_entry::boot_info::RawBootInfo;

/// Size of the stack that a Hermit kernel expects, in bytes.
pub const STACK_BYTES: usize = 32 << 10;

/// The stack for the kernel's first instructions.
#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: the loader never looks at it.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// Returns where the kernel's first stack ends, which is where it starts growing.
#[must_use]
pub fn stack_end() -> u64 {
    (STACK.0.get().expose_provenance() + STACK_BYTES) as u64
}

/// Makes what was written to `range` visible to instruction fetches (Arm ARM, B2.4.4).
pub fn publish(range: &Range<u64>) {
    let cache_type: u64;
    // SAFETY: a register that can be read at any time.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack, preserves_flags)) };
    let clean_needed = cache_type >> 28 & 1 == 0;
    if clean_needed {
        let line = 4_u64 << (cache_type >> 16 & 0xf);
        let mut address = range.start / line * line;
        while address < range.end {
            // SAFETY: cleaning a line changes no memory's contents; the range is mapped.
            unsafe { asm!("dc cvau, {}", in(reg) address, options(nostack, preserves_flags)) };
            address += line;
        }
    }
    // SAFETY: as above, for the instructions that were fetched.
    unsafe { asm!("dsb ish", "ic iallu", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Jumps to the kernel's entry point: the boot information in x0, the CPU in w1, `stack` in sp, everything masked and no
/// vector table.
///
/// # Safety
///
/// `entry` is the entry point of a loaded kernel that was [published](publish); the [`STACK_BYTES`] below `stack`, and
/// all that `boot_info` refers to, are its own from now on.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(boot_info: &'static RawBootInfo, cpu: u32, entry: u64, stack: u64) -> ! {
    naked_asm!("msr daifset, #15", "msr vbar_el1, xzr", "isb", "mov sp, x3", "mov x29, xzr", "mov x30, xzr", "br x2",)
}
