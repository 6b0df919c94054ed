//! Why a boot ends before it began.

use core::fmt;

use ebbtide_core::boot::{MAX_COMMAND_LINE_BYTES, MAX_MEMORY_REGIONS};

use crate::tree::TreeError;

/// What a loader handed over that the kernel cannot boot with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootError {
    /// The boot information names a platform that hermit-entry does not know.
    Platform {
        /// The number of the platform.
        tag: u32,
    },
    /// What the boot information says about its platform makes no sense.
    Payload(&'static str),
    /// There is no device tree, so no memory map.
    NoTree,
    /// The device tree cannot be read.
    Tree(TreeError),
    /// The device tree names no usable RAM.
    NoMemory,
    /// The device tree names a stretch of RAM that cannot be.
    Region {
        /// Where it starts, as a physical address.
        start: u64,
        /// How long it is, in bytes.
        bytes: u64,
    },
    /// There are more stretches of RAM than the kernel keeps.
    TooManyRegions,
    /// The command line is longer than the kernel keeps.
    LongCommandLine {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The command line is not UTF-8.
    CommandLineText,
    /// The image's address range is empty, or not in usable RAM.
    Image {
        /// Where it is said to start, as a physical address.
        start: u64,
        /// Where it is said to end.
        end: u64,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Platform { tag } => write!(
                f,
                "the loader names platform {tag}, which hermit-entry 0.10 does not know; use a loader of the same version"
            ),
            Self::Payload(what) => write!(f, "the loader's boot information is damaged: {what}"),
            Self::NoTree => f.write_str("the loader gave no device tree, so the memory is unknown; use a newer loader"),
            Self::Tree(error) => write!(f, "the loader's device tree is unusable: {error}"),
            Self::NoMemory => f.write_str("the loader's device tree names no usable memory"),
            Self::Region { start, bytes } => write!(
                f,
                "the loader's device tree names {bytes:#x} bytes of memory at {start:#x}, which no machine has"
            ),
            Self::TooManyRegions => {
                write!(f, "the memory lies in more than {MAX_MEMORY_REGIONS} pieces, more than the kernel keeps")
            }
            Self::LongCommandLine { bytes } => write!(
                f,
                "the command line has {bytes} bytes, and the kernel keeps {MAX_COMMAND_LINE_BYTES}; make it shorter"
            ),
            Self::CommandLineText => f.write_str("the command line is not UTF-8; write it in UTF-8"),
            Self::Image { start, end } => write!(
                f,
                "the loader says that the kernel lies at {start:#x} to {end:#x}, where there is no usable memory"
            ),
        }
    }
}

impl core::error::Error for BootError {}

impl From<TreeError> for BootError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}
