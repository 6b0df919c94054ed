//! The architecture and the machines of an x86_64 image.

pub(crate) use ebbtide_arch_x86_64::{X86_64 as Arch, init_boot_cpu};
pub(crate) use ebbtide_pc::{Pc as Platform, note_start};

#[doc(hidden)]
pub use ebbtide_pc::rtc::seconds as rtc_seconds;
