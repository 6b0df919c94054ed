//! Why a boot is refused: one type, so that there is one place where it is said.

use core::fmt;

use hermit_entry::elf::ParseKernelError;

use crate::check::ImageError;
use crate::embed::EmbedError;
use crate::graft::GraftError;
use crate::memory::NoPlace;

/// Why the loader does not start the kernel.
#[derive(Debug)]
pub enum Refusal {
    /// Whoever started the loader handed over something unexpected.
    Firmware(&'static str),
    /// The command line cannot be used.
    CommandLine(&'static str),
    /// The packed file is not whole.
    Packed(EmbedError),
    /// The image is not in order.
    Image(ImageError),
    /// The image passed the check, and hermit-entry refuses it nevertheless.
    Parser(ParseKernelError),
    /// There is no memory for it.
    Memory(NoPlace),
    /// The device tree could not be written.
    Tree(vm_fdt::Error),
    /// The machine's own device tree could not be copied.
    Graft(GraftError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware(what) => write!(f, "boot information: {what}"),
            Self::CommandLine(what) => write!(f, "command line: {what}"),
            Self::Packed(error) => write!(f, "image: {error}"),
            Self::Image(error) => write!(f, "image: {error}"),
            Self::Parser(error) => write!(f, "image: {error}"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::Tree(error) => write!(f, "device tree: {error}"),
            Self::Graft(error) => write!(f, "device tree: {error}"),
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty)),*) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from!(
    Packed(EmbedError),
    Image(ImageError),
    Parser(ParseKernelError),
    Memory(NoPlace),
    Tree(vm_fdt::Error),
    Graft(GraftError)
);
