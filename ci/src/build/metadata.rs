//! What cargo says about one package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use cargo_metadata::{MetadataCommand, Package, Target};

use crate::exit;
use crate::toolchain::Compiler;

/// What cargo has said, by manifests: the tests of one run ask hundreds of times. What a manifest says while a command of this tool
/// begins holds until it ends.
static SAID: Mutex<BTreeMap<PathBuf, Package>> = Mutex::new(BTreeMap::new());

/// Reads the package of one manifest; needs no network.
///
/// # Errors
///
/// When cargo cannot read the manifest, or it holds no package.
pub fn package(manifest: &Path) -> anyhow::Result<Package> {
    let manifest = std::path::absolute(manifest)?;
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(package) = said.get(&manifest) {
        return Ok(package.clone());
    }
    // All members of its workspace, of which others are asked for next.
    let members = ask(&manifest)?;
    let found = members.iter().find(|member| same_file(member.manifest_path.as_std_path(), &manifest)).cloned();
    let package = found.ok_or_else(|| exit::usage(format!("{} describes no package", manifest.display())))?;
    said.extend(members.into_iter().map(|member| (member.manifest_path.clone().into_std_path_buf(), member)));
    said.insert(manifest, package.clone());
    Ok(package)
}

/// All packages of the workspace that a manifest belongs to.
fn ask(manifest: &Path) -> anyhow::Result<Vec<Package>> {
    let mut command = MetadataCommand::new();
    if let Some(compiler) = Compiler::active() {
        command.cargo_path(compiler.program("cargo"));
    }
    let metadata =
        command.manifest_path(manifest).no_deps().exec().with_context(|| format!("reading {}", manifest.display()))?;
    Ok(metadata.packages)
}

/// A binary of an app: the one that is named, else the only one, else the one that the manifest runs by default.
///
/// # Errors
///
/// When there is none of that name, none at all, or several and no choice among them (121).
pub fn binary<'a>(app: &'a Package, named: Option<&str>) -> anyhow::Result<&'a Target> {
    let binaries: Vec<_> = app.targets.iter().filter(|target| target.is_bin()).collect();
    if let Some(name) = named {
        let names = || binaries.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
        return binaries
            .iter()
            .find(|target| target.name == name)
            .copied()
            .ok_or_else(|| exit::usage(format!("`{}` has no binary `{name}`; it has: {}", app.name, names())));
    }
    let chosen = app.default_run.as_deref();
    match binaries.as_slice() {
        [] => Err(exit::usage(format!(
            "`{}` ({}) has no binary: an app is a crate with src/main.rs",
            app.name, app.manifest_path
        ))),
        [one] => Ok(one),
        several => several.iter().find(|target| Some(target.name.as_str()) == chosen).copied().ok_or_else(|| {
            exit::usage(format!(
                "`{}` has several binaries; name one as `default-run` in {}",
                app.name, app.manifest_path
            ))
        }),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
