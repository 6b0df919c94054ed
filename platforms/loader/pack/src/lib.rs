//! Packs a checked Hermit image and the loader into one bootable file.
//!
//! ```text
//! kernel ELF ──strip──► NAME.hermit ──check──┐
//! loader ELF ────────────────────────────────┴─pack──► NAME, which `qemu -kernel` boots
//! ```

pub mod pack;
pub mod strip;

/// Views on ELF structures that are little-endian, as all images here are.
const LITTLE: object::LittleEndian = object::LittleEndian;
