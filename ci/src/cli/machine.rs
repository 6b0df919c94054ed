//! QEMU's names with options, as `--machine` and `--cpu` take them.

use std::fmt;
use std::str::FromStr;

/// A machine type or CPU model with its options: `virt:gic-version=3:virtualization=on`.
///
/// QEMU separates options by commas; on our command line a comma separates list elements. Records repeat the value as
/// it was given.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Selected(String);

impl Selected {
    /// Takes a name that the tool itself supplies.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The name without options.
    pub fn name(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The value as QEMU takes it.
    pub fn for_qemu(&self) -> String {
        self.0.replace(':', ",")
    }
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Selected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fine = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == ',');
        if text.split(':').all(fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected NAME or NAME:OPTION:OPTION".to_owned())
        }
    }
}

/// Most CPUs that a machine may have.
pub const MOST_CPUS: u8 = 16;

/// Checks a number of CPUs.
pub fn cpus(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(number @ 1..=MOST_CPUS) => Ok(number),
        _ => Err(format!("expected 1 to {MOST_CPUS}")),
    }
}

/// The least memory, in KiB, with which a guest gets to its first instruction and can say that it is too little: the
/// loader lies at 1 MiB. Below it the firmware hangs in silence.
const LEAST_MEMORY_KIB: u64 = 2 << 10;

/// Checks a size of memory in QEMU's form.
pub fn memory(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let kib_in_unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "k" => Some(1),
        "" | "m" => Some(1 << 10),
        "g" => Some(1 << 20),
        _ => None,
    };
    let kib = digits.parse::<u64>().ok().zip(kib_in_unit).and_then(|(number, unit)| number.checked_mul(unit));
    match kib {
        None | Some(0) => Err("expected QEMU's form, as 8M or 2G (a bare number is MiB)".to_owned()),
        Some(..LEAST_MEMORY_KIB) => Err("no guest starts with less than 2M; Ebbtide is made for 8M or more".to_owned()),
        Some(_) => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_commas() {
        let machine: Selected = "virt:gic-version=3:virtualization=on".parse().unwrap();
        assert_eq!(machine.for_qemu(), "virt,gic-version=3,virtualization=on");
        assert_eq!(machine.name(), "virt");
        assert_eq!(machine.to_string(), "virt:gic-version=3:virtualization=on");
        assert_eq!(Selected::new("max:-smap").for_qemu(), "max,-smap");
    }

    #[test]
    fn broken_values_are_refused() {
        for text in ["", ":a", "q35:", "q35,a", "q 35"] {
            assert!(text.parse::<Selected>().is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_that_the_kernel_does_not_run_on_are_refused() {
        assert_eq!((cpus("1"), cpus("16")), (Ok(1), Ok(16)));
        for text in ["0", "17", "300", "x", ""] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_in_qemus_form() {
        for text in ["8M", "2G", "256", "4096k", "2M"] {
            assert_eq!(memory(text).as_deref(), Ok(text));
        }
        for text in ["", "M", "0M", "8MB", "8MM", "-1M", "1.5G", "1M", "512k", "99999999999999999999G"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
