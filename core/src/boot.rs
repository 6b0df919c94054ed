//! What the kernel is told at boot: the memory map, the command line and where its image lies.
//!
//! A boot protocol (`platforms/hermit`) fills this in before the kernel has page tables of its own. Everything is
//! copied out of the loader's memory, so that this memory can be handed to the frame allocator afterwards.

use core::ops::Range;

use heapless::{String, Vec};
use memory_addresses::PhysAddr;

/// Most regions that a memory map may have.
pub const MAX_MEMORY_REGIONS: usize = 32;

/// Longest kernel command line, in bytes.
pub const MAX_COMMAND_LINE_BYTES: usize = 2048;

/// A stretch of usable RAM, `start..end`, in physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// First byte.
    pub start: PhysAddr,
    /// First byte behind it.
    pub end: PhysAddr,
}

/// What a loader tells the kernel, in a form that no longer refers to the loader's memory.
#[derive(Clone, Debug)]
pub struct BootInfo {
    /// Usable RAM. It may contain the image, the loader and what the loader left behind.
    pub memory: Vec<MemoryRegion, MAX_MEMORY_REGIONS>,
    /// The kernel command line: the app's words and those that start with `ebbtide.`.
    pub command_line: String<MAX_COMMAND_LINE_BYTES>,
    /// Where the kernel image lies, from its first to behind its last byte (`.bss` included).
    pub image: Range<PhysAddr>,
    /// The CPU's cycle counter at the loader's first instruction, if the loader noted it.
    pub counter_at_start: Option<u64>,
    /// The serial port that the loader named: an I/O port on x86_64, a physical address on aarch64.
    pub serial_port: Option<u64>,
    /// The root pointer of the machine's ACPI tables, if the loader named it.
    pub acpi_root: Option<PhysAddr>,
    /// The number of the CPU that boots.
    pub cpu: u32,
}
