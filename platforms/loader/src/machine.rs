//! The machines that images are made for, and what an ELF file calls their relocations.

use core::fmt;

use goblin::elf::header::{EM_AARCH64, EM_X86_64};
use goblin::elf::reloc::{
    R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_RELATIVE, R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_RELATIVE,
};

/// An instruction set that Ebbtide runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Machine {
    /// Returns the value of `e_machine` in an ELF header.
    #[must_use]
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => EM_X86_64,
            Self::Aarch64 => EM_AARCH64,
        }
    }

    /// Returns the machine that an ELF header names.
    #[must_use]
    pub const fn from_elf(machine: u16) -> Option<Self> {
        match machine {
            EM_X86_64 => Some(Self::X86_64),
            EM_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Returns what hermit-entry does for a relocation of type `kind`: [`None`] if it would give up.
    #[must_use]
    pub const fn relocation(self, kind: u32) -> Option<Relocation> {
        match (self, kind) {
            (Self::X86_64, R_X86_64_RELATIVE) | (Self::Aarch64, R_AARCH64_RELATIVE) => Some(Relocation::Relative),
            (Self::X86_64, R_X86_64_64) | (Self::Aarch64, R_AARCH64_ABS64) => Some(Relocation::Absolute),
            (Self::X86_64, R_X86_64_GLOB_DAT) | (Self::Aarch64, R_AARCH64_GLOB_DAT) => Some(Relocation::GlobalData),
            _ => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// The relocations that hermit-entry applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// Load address plus addend.
    Relative,
    /// Load address plus symbol plus addend.
    Absolute,
    /// As [`Self::Absolute`]; on x86_64 the addend must be 0.
    GlobalData,
}
