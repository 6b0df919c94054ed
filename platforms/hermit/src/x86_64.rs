//! The first instructions on x86_64, and the platforms that there are.

use hermit_entry::boot_info::PlatformInfo;

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
