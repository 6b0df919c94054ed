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
}

impl Arch {
    /// The architectures whose code exists in this repository: the one place that says so.
    pub const EXISTING: &'static [Self] = &[Self::X86_64];

    /// All that have a name, existing or not.
    const KNOWN: &'static [Self] = &[Self::X86_64, Self::Aarch64];

    fn facts(self) -> Facts {
        match self {
            Self::X86_64 => {
                Facts { name: "x86_64", triple: "x86_64-unknown-none", qemu: "qemu-system-x86_64", machine: "q35" }
            }
            Self::Aarch64 => Facts {
                name: "aarch64",
                triple: "aarch64-unknown-none-softfloat",
                qemu: "qemu-system-aarch64",
                machine: "virt",
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
        let known = Self::KNOWN.iter().find(|arch| arch.name() == name);
        match known {
            Some(arch) if Self::EXISTING.contains(arch) => Ok(*arch),
            Some(_) => Err(format!("not in this repository yet; existing: {}", Self::existing_names())),
            None => Err(format!("known: {}", Self::existing_names())),
        }
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
        for name in ["aarch64", "riscv64", ""] {
            let refusal = name.parse::<Arch>().unwrap_err();
            assert!(refusal.contains("x86_64"), "{refusal}");
        }
    }
}
