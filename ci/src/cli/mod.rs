//! The command line: the flags that several verbs share, each described once.
//!
//! A verb flattens the groups it has into its own `Args`. Flags of one value and flags of a list are different
//! groups, since `run` boots one image and `test` boots many.

mod list;
mod machine;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

pub use list::List;
pub use machine::{MOST_CPUS, Selected, cpus, memory};

use crate::arch::Arch;
use crate::policy::Policy;
use crate::toolchain::Family;

/// How an image is optimised.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As measured and shipped.
    #[default]
    Release,
    /// With debug assertions.
    Dev,
}

impl Profile {
    /// All profiles.
    pub const ALL: &'static [Self] = &[Self::Release, Self::Dev];

    /// Its name, in paths and for cargo.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|profile| profile.name() == name);
        found.copied().ok_or_else(|| "known: release, dev".to_owned())
    }
}

/// What executes the guest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Accel {
    /// QEMU's own translator: the same on every machine.
    #[default]
    Tcg,
    /// The host's processor.
    Kvm,
    /// KVM if a trial boot succeeds, else TCG.
    Auto,
}

/// Where a compiler may come from, and whether things may be installed.
#[derive(Args, Clone, Debug, Default)]
pub struct SetupArgs {
    /// Whose Rust builds the images; stays chosen until it stops working
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<Family>,
    /// Install what is missing without asking
    #[arg(long)]
    pub yes: bool,
}

/// What to build: one architecture, policy and profile.
#[derive(Args, Clone, Debug)]
pub struct ImageArgs {
    /// Architecture
    #[arg(long, default_value = "x86_64")]
    pub arch: Arch,
    /// Stack policy [default: what the app's manifest selects, else reclaim-on-sleep]
    #[arg(long, value_name = "NAME")]
    pub policy: Option<Policy>,
    /// Profile
    #[arg(long, default_value = "release")]
    pub profile: Profile,
    /// Build with the feature `audit`: a broken invariant ends the run with 107
    #[arg(long)]
    pub audit: bool,
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// The machine that one guest runs on.
#[derive(Args, Clone, Debug)]
pub struct MachineArgs {
    /// Number of CPUs, 1 to 16
    #[arg(long, value_name = "N", default_value = "1", value_parser = machine::cpus)]
    pub smp: u8,
    /// QEMU's machine type, options after `:` [default: q35, virt]
    #[arg(long, value_name = "TYPE")]
    pub machine: Option<Selected>,
    /// QEMU's CPU model, options after `:`
    #[arg(long, value_name = "MODEL", default_value = "max")]
    pub cpu: Selected,
    /// Memory in QEMU's form, as 8M or 2G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = machine::memory)]
    pub memory: String,
    /// What executes the guest
    #[arg(long, default_value = "tcg")]
    pub accel: Accel,
    /// Seconds until the run is ended [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// Lists of what to run on, for the verbs that run many.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Architectures, or `all`
    #[arg(long, default_value = "all")]
    pub arch: List<Arch>,
    /// Stack policies, or `all`
    #[arg(long, value_name = "NAME", default_value = "all")]
    pub policy: List<Policy>,
    /// Profiles, or `all`
    #[arg(long, default_value = "release")]
    pub profile: List<Profile>,
    /// QEMU's machine types, options after `:`
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub machine: Vec<Selected>,
    /// QEMU's CPU models, options after `:`
    #[arg(long, value_name = "MODEL", value_delimiter = ',', default_value = "max")]
    pub cpu: Vec<Selected>,
    /// Numbers of CPUs, 1 to 16
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = machine::cpus)]
    pub smp: Vec<u8>,
    #[command(flatten)]
    pub setup: SetupArgs,
}

/// Where records go, and how much work is done for them.
#[derive(Args, Clone, Debug, Default)]
pub struct RecordArgs {
    /// Write the records to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fewer repetitions
    #[arg(long)]
    pub quick: bool,
}

/// Reads a time-out.
///
/// # Errors
///
/// When the text is no positive number of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number of seconds above 0, as 30 or 2.5".to_owned();
    let number: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for text in ["0", "-1", "soon", "inf", "NaN", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
