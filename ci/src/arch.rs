//! The architectures: their names and what the tool must know of each.

use std::fmt;
use std::str::FromStr;

/// An architecture that Ebbtide is made for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

/// What differs between architectures, as data.
struct Facts {
    name: &'static str,
    triple: &'static str,
    qemu: &'static str,
    machine: &'static str,
    /// What every run of the default machine type has, beside what it is told.
    machine_options: &'static str,
    /// The device through which a guest ends a run with a status.
    exit_device: &'static [&'static str],
    /// The status that the device makes of a number: so many times the number, and so much more.
    status: (u8, u8),
    /// What a CPU model has in a run that is counted: a tick of its clock for each instruction.
    counted_cpu: &'static str,
}

/// What a guest adds to its code before it hands it to the exit device.
const CODE_OFFSET: u8 = 16;

impl Arch {
    /// The architectures whose code exists in this repository: the one place that says so.
    pub const EXISTING: &'static [Self] = &[Self::X86_64, Self::Aarch64];

    fn facts(self) -> Facts {
        match self {
            Self::X86_64 => Facts {
                name: "x86_64",
                triple: "x86_64-unknown-none",
                qemu: "qemu-system-x86_64",
                machine: "q35",
                machine_options: "",
                exit_device: &["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
                status: (2, 1),
                counted_cpu: "",
            },
            Self::Aarch64 => Facts {
                name: "aarch64",
                triple: "aarch64-unknown-none-softfloat",
                qemu: "qemu-system-aarch64",
                machine: "virt",
                // The device tree, which the guest reads, else holds random numbers: two boots would differ.
                machine_options: ",dtb-randomness=off",
                exit_device: &["-semihosting"],
                status: (1, 0),
                counted_cpu: ",cntfrq=1000000000",
            },
        }
    }

    /// The name, as in `--arch`, in paths and in records.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The target that images are built for.
    pub fn triple(self) -> &'static str {
        self.facts().triple
    }

    /// The program that emulates it.
    pub fn qemu(self) -> &'static str {
        self.facts().qemu
    }

    /// The machine type that a run takes unless told otherwise.
    pub fn default_machine(self) -> &'static str {
        self.facts().machine
    }

    /// What QEMU is told of a machine type beside what the user says of it: a comma before each option.
    pub fn machine_options(self, machine: &str) -> &'static str {
        if machine == self.default_machine() { self.facts().machine_options } else { "" }
    }

    /// QEMU's arguments for the device through which a guest ends a run with a status.
    pub fn exit_device(self) -> &'static [&'static str] {
        self.facts().exit_device
    }

    /// The code with which a guest ended, if a status of QEMU's stands for one.
    pub fn code_of(self, status: u8) -> Option<u8> {
        let (factor, more) = self.facts().status;
        let number = status.checked_sub(more).filter(|times| times % factor == 0)? / factor;
        number.checked_sub(CODE_OFFSET)
    }

    /// What QEMU is told of a CPU model in a run that is counted: a comma before each option.
    pub fn counted_cpu(self) -> &'static str {
        self.facts().counted_cpu
    }

    /// The names of the architectures that exist, for messages.
    pub fn existing_names() -> String {
        let names: Vec<_> = Self::EXISTING.iter().map(|arch| arch.name()).collect();
        names.join(", ")
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::EXISTING.iter().find(|arch| arch.name() == name);
        known.copied().ok_or_else(|| format!("known: {}", Self::existing_names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_names_parse_to_themselves() {
        for arch in Arch::EXISTING {
            assert_eq!(arch.name().parse(), Ok(*arch));
        }
    }

    #[test]
    fn refusals_list_what_exists() {
        for name in ["arm64", "riscv64", ""] {
            let refusal = name.parse::<Arch>().unwrap_err();
            assert!(refusal.contains("x86_64, aarch64"), "{refusal}");
        }
    }
    #[test]
    fn no_status_of_qemus_own_is_a_guests() {
        for arch in Arch::EXISTING {
            // QEMU's own are 0 and 1; the shell's words for a signal are above 128 and belong to no code there is.
            assert_eq!((0..CODE_OFFSET).find_map(|status| arch.code_of(status)), None, "{arch}");
        }
        assert_eq!((Arch::X86_64.code_of(33), Arch::X86_64.code_of(34)), (Some(0), None));
        assert_eq!((Arch::Aarch64.code_of(16), Arch::Aarch64.code_of(117)), (Some(0), Some(101)));
    }
}
