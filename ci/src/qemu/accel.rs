//! Whether the host's processor executes a guest.
//!
//! A `/dev/kvm` that exists may still not run an unmodified guest, so `auto` makes a trial: the image itself, on the
//! same machine, with a command-line word that no kernel knows. That boots through the loader and far into the kernel
//! and is then refused, before the app has run.

use std::path::Path;
use std::time::Duration;

use super::{Ending, Guest, Run};
use crate::cli::Accel;
use crate::exit::{self, Code};
use crate::project::Project;

/// A word that the kernel refuses.
const UNKNOWN_WORD: &str = "ebbtide.trial=boot";

/// How long a trial may take: many times what it needs.
const TRIAL: Duration = Duration::from_secs(10);

/// Decides whether `guest` is run with KVM, and says so where the choice was ours.
///
/// # Errors
///
/// When KVM was asked for and there is none (121), or the trial cannot be made.
pub fn choose(project: &Project, guest: &Guest, accel: Accel) -> anyhow::Result<bool> {
    match accel {
        Accel::Tcg => Ok(false),
        Accel::Kvm if possible(guest) => Ok(true),
        Accel::Kvm => Err(exit::usage(format!(
            "--accel kvm: this host cannot run {} guests with KVM (a Linux host of the same architecture with /dev/kvm \
             is needed); take --accel tcg",
            guest.arch
        ))),
        Accel::Auto => {
            let kvm = possible(guest) && trial(project, guest)?;
            eprintln!("accelerator: {}", if kvm { "kvm" } else { "tcg" });
            Ok(kvm)
        }
    }
}

fn possible(guest: &Guest) -> bool {
    guest.arch.name() == std::env::consts::ARCH && Path::new("/dev/kvm").exists()
}

fn trial(project: &Project, guest: &Guest) -> anyhow::Result<bool> {
    let guest = Guest { kvm: true, words: vec![UNKNOWN_WORD.to_owned()], ..guest.clone() };
    let run = Run { project, guest: &guest, label: "kvm-trial", timeout: Some(TRIAL) };
    match run.quiet()?.ending {
        Ending::Interrupted => Err(exit::interrupted()),
        ending => Ok(ending.exit_code() == Code::REFUSED),
    }
}
