//! The flags that mean the same to `test` and `matrix`.

use super::case::Case;
use super::filter::Filter;
use super::guest::Lists;
use crate::arch::Arch;
use crate::cli::{List, Profile, Selected, SetupArgs};
use crate::policy::Policy;

/// Where guests run, and which of them.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Architectures, or `all`
    #[arg(long, default_value = "all")]
    arch: List<Arch>,
    /// Stack policies, or `all`
    #[arg(long, value_name = "NAME", default_value = "all")]
    policy: List<Policy>,
    /// Profiles of the guests, or `all`
    #[arg(long, default_value = "release")]
    profile: List<Profile>,
    /// QEMU's machine types, options after `:` [default: what each case needs]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    machine: Vec<Selected>,
    /// QEMU's CPU models, options after `:` [default: what each case needs]
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    cpu: Vec<Selected>,
    /// Build every guest with the feature `audit`: a broken invariant ends it with 107
    #[arg(long)]
    audit: bool,
    #[command(flatten)]
    pub filter: Filter,
    /// Print the cases and their time-outs, and run none
    #[arg(long)]
    pub list: bool,
    /// Guests side by side [default: as many as keep the host's CPUs busy]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub jobs: Option<u8>,
    #[command(flatten)]
    pub setup: SetupArgs,
}

impl Flags {
    /// Where guests run, with so many CPUs each; in their usual form, and from the project's own list.
    pub fn lists(&self, all: &[Policy], smp: &[u8]) -> Lists {
        Lists {
            archs: self.arch.of(Arch::EXISTING),
            policies: self.policy.of(all),
            profiles: self.profile.of(Profile::ALL),
            audit: self.audit,
            smp: smp.to_vec(),
            machines: self.machine.clone(),
            cpus: self.cpu.clone(),
            soak: false,
            cases: None,
        }
    }
}

/// Prints the names of cases, with their time-outs.
pub fn print_names(cases: &[Case]) {
    for case in cases {
        println!("{} [{} s]", case.name, case.timeout.as_secs());
    }
}
