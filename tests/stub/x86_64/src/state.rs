//! The states that other loaders leave: observed by booting small kernels with them.

use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};

/// Another loader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// hermit-loader on x86_64, started through Multiboot.
    HermitLoader,
    /// uhyve 0.10. The console stays COM1, though: its own needs a hypervisor that answers. And its guest lies at a
    /// random address from 4 GiB on; here it lies where the stub can load it.
    Uhyve,
}

/// Control registers, as a kernel finds them.
pub struct Registers {
    pub cr0: Cr0Flags,
    pub cr4: Cr4Flags,
    pub efer: EferFlags,
}

impl Loader {
    /// Finds a loader by its name on the command line.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "hermit-loader" => Some(Self::HermitLoader),
            "uhyve" => Some(Self::Uhyve),
            _ => None,
        }
    }

    /// The control registers that it leaves. Neither sets OSFXSR: an SSE instruction faults.
    pub fn registers(self) -> Registers {
        let cr0 = Cr0Flags::PAGING | Cr0Flags::EXTENSION_TYPE | Cr0Flags::PROTECTED_MODE_ENABLE;
        let efer = EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE;
        let cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION;
        match self {
            Self::HermitLoader => Registers { cr0: cr0 | Cr0Flags::MONITOR_COPROCESSOR, cr4, efer },
            Self::Uhyve => {
                Registers { cr0: cr0 | Cr0Flags::NUMERIC_ERROR, cr4, efer: efer | EferFlags::NO_EXECUTE_ENABLE }
            }
        }
    }
}

// The values that were observed.
const _: () = {
    let common = Cr0Flags::PAGING.union(Cr0Flags::EXTENSION_TYPE).union(Cr0Flags::PROTECTED_MODE_ENABLE);
    assert!(common.union(Cr0Flags::MONITOR_COPROCESSOR).bits() == 0x8000_0013);
    assert!(common.union(Cr0Flags::NUMERIC_ERROR).bits() == 0x8000_0031);
    let efer = EferFlags::LONG_MODE_ENABLE.union(EferFlags::LONG_MODE_ACTIVE);
    assert!(efer.bits() == 0x500 && efer.union(EferFlags::NO_EXECUTE_ENABLE).bits() == 0xd00);
    assert!(Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits() == 0x20);
};
