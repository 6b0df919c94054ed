//! Which packages are checked for the host and which for bare metal, and with what features.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, Package};

use super::tree;
use crate::arch::Arch;
use crate::deps::rules::{PLATFORM_ARCH, matches};
use crate::policy::{self, Policy};
use crate::project::Project;
use crate::toolchain::Compiler;

/// A member of the workspace that is built for bare metal.
#[derive(Debug)]
pub struct Member {
    /// Cargo's view of it.
    pub package: Package,
    /// Its folder, relative to the root.
    pub folder: String,
}

impl Member {
    /// Whether it holds code for this architecture: a folder that is named after another one's does not.
    pub fn is_for(&self, arch: Arch) -> bool {
        let place = self.folder.as_str();
        let last = place.rsplit('/').next();
        if let Some(named) = Arch::EXISTING.iter().find(|arch| Some(arch.name()) == last) {
            return *named == arch;
        }
        let bound = PLATFORM_ARCH.iter().find(|(platform, _)| *platform == place);
        bound.is_none_or(|(_, folder)| folder.strip_prefix("arch/") == Some(arch.name()))
    }

    /// Whether it needs a policy to be chosen: the crate `ebbtide` itself, and what depends on it.
    pub fn has_policy(&self) -> bool {
        self.package.name.as_str() == "ebbtide" || self.is_app()
    }

    /// Whether it depends on the crate `ebbtide`.
    pub fn is_app(&self) -> bool {
        policy::dependency(&self.package).is_some()
    }

    /// Whether it can be built under this policy: an app may select its own.
    pub fn accepts(&self, policy: &Policy, all: &[Policy]) -> bool {
        !self.is_app() || Policy::choose(&self.package, Some(policy), all).is_ok()
    }
}

/// Default members, which build and are tested on the host, that images are made of all the same.
const BOTH: &[&str] = &["arch/*", "core", "policies/*", "platforms/loader"];

/// Lists the members for bare metal: what images are made of, and all that does not build on the host.
///
/// # Errors
///
/// When cargo cannot read the workspace.
pub fn bare(project: &Project) -> Result<Vec<Member>> {
    let mut command = MetadataCommand::new();
    if let Some(compiler) = Compiler::active() {
        command.cargo_path(compiler.program("cargo"));
    }
    let metadata = command.manifest_path(project.manifest()).no_deps().exec().context("reading the workspace")?;
    let host: BTreeSet<_> = metadata.workspace_default_members.iter().cloned().collect();
    let member = |package: Package| {
        let manifest = package.manifest_path.as_std_path();
        let folder = manifest.parent().unwrap_or(manifest);
        Member { folder: tree::relative(project.root(), folder), package }
    };
    let is_bare = |member: &Member| {
        let both = BOTH.iter().any(|pattern| matches(pattern, &member.folder));
        both || !host.contains(&member.package.id)
    };
    Ok(metadata.packages.into_iter().map(member).filter(is_bare).collect())
}
