//! The first instructions on x86_64, the stack that they load, and the platforms that there are.

#![expect(unsafe_code, reason = "a stack is memory that the CPU writes behind the compiler's back")]

use core::cell::UnsafeCell;
use core::ops::Range;

use hermit_entry::boot_info::PlatformInfo;
use memory_addresses::VirtAddr;

use crate::raw::Platform;

/// The platforms by number: Multiboot, Uhyve, Linux boot parameters, Fdt.
pub const PLATFORMS: [Platform; 4] = [Platform::CommandLine, Platform::Uhyve, Platform::CommandLine, Platform::Tree];

/// Returns the command line that a platform hands over beside the device tree's.
pub fn command_line(platform: &PlatformInfo) -> Option<&'static str> {
    match platform {
        PlatformInfo::Multiboot { command_line, .. } | PlatformInfo::LinuxBootParams { command_line, .. } => {
            *command_line
        }
        PlatformInfo::Uhyve { .. } | PlatformInfo::Fdt => None,
    }
}

/// Size of the boot stack, in bytes.
const STACK_BYTES: usize = 64 << 10;

/// Size of the guard page below it, in bytes.
const GUARD_BYTES: usize = 4 << 10;

/// The boot stack, as it lies in `.bss`. The kernel's page tables leave the guard out.
///
/// ```text
/// guard page | 64 KiB of stack ─┐
///                               └─ top: rsp at the first call
/// ```
#[doc(hidden)]
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct BootStack {
    guard: UnsafeCell<[u8; GUARD_BYTES]>,
    stack: UnsafeCell<[u8; STACK_BYTES]>,
}

// SAFETY: only the CPU that boots uses it, as its stack; no reference into it is ever made.
unsafe impl Sync for BootStack {}

#[doc(hidden)]
pub static BOOT_STACK: BootStack =
    BootStack { guard: UnsafeCell::new([0; GUARD_BYTES]), stack: UnsafeCell::new([0; STACK_BYTES]) };

/// Distance from the start of [`BOOT_STACK`] to the stack's top, in bytes.
#[doc(hidden)]
pub const BOOT_STACK_TOP: usize = core::mem::offset_of!(BootStack, stack) + STACK_BYTES;

const _: () = assert!(
    BOOT_STACK_TOP.is_multiple_of(16) && BOOT_STACK_TOP == size_of::<BootStack>(),
    "calls want the stack pointer at a multiple of 16, and the stack ends the block"
);

/// Returns the addresses of the boot stack, its guard page not included.
#[must_use]
pub fn boot_stack() -> Range<VirtAddr> {
    range(BOOT_STACK.stack.get().addr(), STACK_BYTES)
}

/// Says whether nothing has written to the page below the boot stack, as an overflow would have before the kernel's own
/// page tables leave it out.
#[must_use]
pub fn boot_stack_guard_is_untouched() -> bool {
    let words = BOOT_STACK.guard.get().cast::<u64>();
    (0..GUARD_BYTES / size_of::<u64>()).all(|at| {
        // SAFETY: a word of the guard, which is aligned to pages and still mapped; volatile, since a push may have
        // written it behind the compiler's back.
        unsafe { words.wrapping_add(at).read_volatile() == 0 }
    })
}

/// Returns the addresses of the page below the boot stack, which nothing ever touches.
#[must_use]
pub fn boot_stack_guard() -> Range<VirtAddr> {
    range(BOOT_STACK.guard.get().addr(), GUARD_BYTES)
}

fn range(start: usize, bytes: usize) -> Range<VirtAddr> {
    VirtAddr::new(start as u64)..VirtAddr::new((start + bytes) as u64)
}

/// Defines `_start`.
///
/// The stack pointer that a loader leaves is the *lowest* address of its stack: nothing may be pushed before the kernel's
/// own stack is loaded. The direction flag may be anything; interrupts are off, and stay so.
#[doc(hidden)]
#[macro_export]
macro_rules! __start {
    ($start:path) => {
        const _: () = {
            // Named so that no `$start` of the kernel's is hidden by it.
            extern "C" fn __ebbtide_start(boot_info: &'static $crate::RawBootInfo, cpu: u32) -> ! {
                let start: fn(&'static $crate::RawBootInfo, u32) -> ! = $start;
                start(boot_info, cpu)
            }

            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn _start(boot_info: &'static $crate::RawBootInfo, cpu: u32) -> ! {
                ::core::arch::naked_asm!(
                    "cli",
                    "cld",
                    "lea rsp, [rip + {stack} + {top}]",
                    "xor ebp, ebp",
                    "call {start}",
                    "ud2",
                    stack = sym $crate::__BOOT_STACK,
                    top = const $crate::__BOOT_STACK_TOP,
                    start = sym __ebbtide_start,
                )
            }

            // Loaders call it as this type.
            const _: $crate::Entry = _start;
        };
    };
}
