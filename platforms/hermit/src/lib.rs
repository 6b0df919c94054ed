//! The hermit-entry boot protocol: version note, `_start`, boot information.
//!
//! Any loader that speaks version 4 of this protocol can start the kernel. They leave machines in different states
//! (SSE off, no-execute off, little mapped, garbage in unused halves of words), so what runs here relies on no more than
//! all of them give: code and data of the image, the boot information and the device tree can be read. There is no
//! heap and no page table of the kernel's own yet; everything is copied out, and nothing of the loader's is used later.

#![no_std]

mod error;
mod raw;
mod read;
mod stack;
mod tree;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;

#[doc(hidden)]
pub use hermit_entry;
pub use hermit_entry::Entry;
pub use hermit_entry::boot_info::RawBootInfo;

pub use error::BootError;
pub use read::{boot_info, device_tree, serial_port};
#[doc(hidden)]
pub use stack::{BOOT_STACK as __BOOT_STACK, BOOT_STACK_TOP as __BOOT_STACK_TOP};
pub use stack::{boot_stack, boot_stack_guard, boot_stack_guard_is_untouched};
pub use tree::TreeError;

/// Defines the version note and the entry point `_start`, which calls `$start` on the kernel's own boot stack.
///
/// `$start` is the path of a `fn(&'static RawBootInfo, u32) -> !`: the loader's boot information, and the number of the
/// CPU that boots. The one program that is the kernel uses this macro, once.
///
/// The signature of `_start` is checked against [`hermit_entry::Entry`] at compile time.
#[macro_export]
macro_rules! entry {
    ($start:path) => {
        $crate::hermit_entry::define_entry_version!();
        $crate::__start!($start);
    };
}
