//! The jump into the kernel, as hermit-entry's `Entry` has it.

#![expect(unsafe_code, reason = "leaves the loader for good, on another stack")]

use core::arch::naked_asm;
use core::cell::UnsafeCell;

use hermit_entry::boot_info::RawBootInfo;

/// Size of the stack that a Hermit kernel expects, in bytes.
pub const STACK_BYTES: usize = 32 << 10;

/// The stack for the kernel's first instructions. Kernels get the *lowest* address and add its size themselves.
#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: the loader never looks at it.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// Returns the lowest address of the kernel's first stack.
#[must_use]
pub fn stack_lowest() -> u64 {
    STACK.0.get().expose_provenance() as u64
}

/// Jumps to the kernel's entry point: the boot information in rdi, CPU 0 in esi, `stack` in rsp, interrupts off.
///
/// # Safety
///
/// `entry` is the entry point of a loaded kernel; `stack`, of [`STACK_BYTES`], and all that `boot_info` refers to are
/// its own from now on.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn enter(boot_info: &'static RawBootInfo, cpu: u32, entry: u64, stack: u64) -> ! {
    naked_asm!("cli", "cld", "mov rsp, rcx", "xor ebp, ebp", "jmp rdx",)
}
