//! The first instructions on aarch64, and the platforms that there are.

use hermit_entry::boot_info::PlatformInfo;

use crate::raw::Platform;

/// The platforms by number: Linux boot, Uhyve, Linux boot parameters, Fdt.
pub const PLATFORMS: [Platform; 4] = [Platform::Tree, Platform::Uhyve, Platform::CommandLine, Platform::Tree];

/// Returns the command line that a platform hands over beside the device tree's.
pub fn command_line(platform: &PlatformInfo) -> Option<&'static str> {
    match platform {
        PlatformInfo::LinuxBootParams { command_line, .. } => *command_line,
        PlatformInfo::LinuxBoot | PlatformInfo::Uhyve { .. } | PlatformInfo::Fdt => None,
    }
}

/// Defines `_start`.
///
/// A loader may leave either stack pointer in use. The kernel runs on SP_EL0 and leaves SP_EL1 to traps. Everything is
/// masked, and stays so. Floating point may be on or off; nothing here uses it.
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
                    "msr daifset, #15",
                    "msr spsel, #0",
                    "adrp x9, {stack}",
                    "add x9, x9, :lo12:{stack}",
                    "add x9, x9, #{top_pages}, lsl #12",
                    "mov sp, x9",
                    "mov x29, #0",
                    "mov x30, #0",
                    "bl {start}",
                    "udf #0",
                    stack = sym $crate::__BOOT_STACK,
                    top_pages = const $crate::__BOOT_STACK_TOP >> 12,
                    start = sym __ebbtide_start,
                )
            }

            // Loaders call it as this type.
            const _: $crate::Entry = _start;
        };
    };
}

const _: () = assert!(crate::__BOOT_STACK_TOP.is_multiple_of(4096), "`_start` adds it as a number of pages");
