//! Packs a checked Hermit image and the loader into one bootable file.
fn main() {}
