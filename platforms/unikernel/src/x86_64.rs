//! The architecture and the machines of an x86_64 image.

pub(crate) use ebbtide_arch_x86_64::{X86_64 as Arch, init_boot_cpu};
use ebbtide_core::boot::BootInfo;
use ebbtide_hermit::RawBootInfo;
pub(crate) use ebbtide_pc::Pc as Platform;

#[doc(hidden)]
pub use ebbtide_pc::send_unmaskable;

#[doc(hidden)]
pub use ebbtide_pc::rtc::seconds as rtc_seconds;

/// Notes what the machine wants to know of the start. The first thing that is done.
pub(crate) fn note_start(_: &RawBootInfo) {
    ebbtide_pc::note_start();
}

/// Notes what the machine wants to know of what the loader has told.
pub(crate) fn note_boot(boot: &BootInfo) {
    ebbtide_pc::note_acpi_root(boot.acpi_root);
}
