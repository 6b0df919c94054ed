//! The search for a toolchain, in the order that is promised: the target beside the active Rust, its library sources,
//! `rustup target add`, Debian's Rust.
//!
//! The third is an installation, as may be the fourth: `ci/setup` does both, then the search runs once more.

use clap::ValueEnum;

use super::{Compiler, Source, Toolchain, note};
use crate::arch::Arch;
use crate::exit;
use crate::project::Project;
use crate::setup;

/// Whose Rust: the value of `--toolchain`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Family {
    /// The active one, as a rule rustup's.
    Rustup,
    /// Debian's own.
    Debian,
}

impl Family {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }

    fn holds(self, source: Source) -> bool {
        (self == Self::Debian) == (source == Source::Debian)
    }
}

/// Finds a toolchain among what is installed and notes it; `None` if nothing fits.
///
/// # Errors
///
/// When the note cannot be written.
pub fn find(project: &Project, arch: Arch, asked: Option<Family>) -> anyhow::Result<Option<Toolchain>> {
    let noted = note::read(project);
    let Some(found) = choose(noted.as_ref(), arch, asked) else {
        return Ok(None);
    };
    if noted.as_ref() != Some(&found) {
        note::write(project, &found)?;
        eprintln!("toolchain: {} ({})", found.rustc_version(), found.source.description());
    }
    Ok(Some(found))
}

/// Finds a toolchain, and lets `ci/setup` bring one if there is none.
///
/// # Errors
///
/// When nothing fits in the end (122).
pub fn find_or_set_up(project: &Project, arch: Arch, asked: Option<Family>, yes: bool) -> anyhow::Result<Toolchain> {
    if let Some(found) = find(project, arch, asked)? {
        return Ok(found);
    }
    setup::run(project, asked, yes)?;
    find(project, arch, asked)?.ok_or_else(|| {
        exit::missing(format!(
            "ci/setup ended well, but there still is no bare-metal `core` for {}; `cargo xtask doctor` shows what was \
             looked for",
            arch.triple()
        ))
    })
}

/// What would be chosen now, and whether it is what was noted; changes nothing.
pub fn survey(project: &Project, arch: Arch, asked: Option<Family>) -> Option<(Toolchain, bool)> {
    let noted = note::read(project);
    let found = choose(noted.as_ref(), arch, asked)?;
    let kept = noted.as_ref() == Some(&found);
    Some((found, kept))
}

/// What was chosen stays chosen while it works and nothing else is asked for.
fn choose(noted: Option<&Toolchain>, arch: Arch, asked: Option<Family>) -> Option<Toolchain> {
    let fits =
        |toolchain: &Toolchain| asked.is_none_or(|family| family.holds(toolchain.source)) && toolchain.works(arch);
    noted.filter(|toolchain| fits(toolchain)).cloned().or_else(|| candidates().find(fits))
}

fn candidates() -> impl Iterator<Item = Toolchain> {
    Source::ALL.iter().filter_map(|&source| {
        let compiler = match source {
            Source::Target | Source::Sources => Compiler::active(),
            Source::Debian => Compiler::debian(),
        };
        Some(Toolchain { source, compiler: compiler? })
    })
}
