//! The architecture and the machines of an aarch64 image.

pub(crate) use ebbtide_arch_aarch64::{Aarch64 as Arch, init_boot_cpu};
use ebbtide_core::boot::BootInfo;
use ebbtide_hermit::RawBootInfo;
pub(crate) use ebbtide_virt::Virt as Platform;

/// There is no interrupt that nothing masks.
#[doc(hidden)]
pub fn send_unmaskable(_: u32) {}

#[doc(hidden)]
pub use ebbtide_virt::rtc::seconds as rtc_seconds;

/// Notes what the machine wants to know of the start. The first thing that is done.
pub(crate) fn note_start(raw: &RawBootInfo) {
    ebbtide_virt::note_start(ebbtide_hermit::device_tree(raw), ebbtide_hermit::serial_port(raw));
}

/// Notes what the machine wants to know of what the loader has told: it has looked at the device tree already.
pub(crate) fn note_boot(_: &BootInfo) {}
