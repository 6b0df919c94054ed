//! The packages of the repository and what they depend on, as far as the rules need it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::lint::tree;

/// One package of the repository.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its folder, relative to the root of the repository, with `/`.
    pub folder: String,
    /// The names of its cargo features.
    pub features: Vec<String>,
    /// Its dependencies by path, and all that are called as ours are.
    pub dependencies: Vec<Dependency>,
    /// The dependencies of certain targets only, from wherever: their names and the conditions.
    pub targeted: Vec<(String, String)>,
}

/// A dependency by path, or on something that is called as ours are.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The name of the package that is depended on.
    pub name: String,
    /// Where it lies.
    pub target: Target,
    /// `""` for a normal dependency, else `"dev-"` or `"build-"`.
    pub kind: &'static str,
}

/// Where a dependency lies.
#[derive(Debug, Clone)]
pub enum Target {
    /// A folder of the repository.
    Inside(String),
    /// A path that leaves the repository.
    Outside(String),
    /// A registry or git repository.
    Fetched(String),
}

/// How the names of our packages start.
const OURS: &str = "ebbtide";

/// Reads every package below `root`, members of the workspace or not.
///
/// # Errors
///
/// When cargo cannot read a manifest.
pub fn read(root: &Path) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    let mut seen = BTreeSet::new();
    read_workspace(root, &root.join("Cargo.toml"), &mut seen, &mut packages)?;
    for manifest in tree::files(root)? {
        if manifest.file_name().is_some_and(|name| name == "Cargo.toml") && !seen.contains(&manifest) {
            read_workspace(root, &manifest, &mut seen, &mut packages)?;
        }
    }
    packages.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(packages)
}

/// Reads the workspace that `manifest` belongs to.
fn read_workspace(
    root: &Path,
    manifest: &Path,
    seen: &mut BTreeSet<std::path::PathBuf>,
    packages: &mut Vec<Package>,
) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .with_context(|| format!("cargo cannot read {}: mend the manifest", manifest.display()))?;
    seen.insert(manifest.to_path_buf());
    for package in &metadata.packages {
        let path = package.manifest_path.clone().into_std_path_buf();
        if path != manifest && !seen.insert(path) {
            continue;
        }
        packages.push(convert(root, package));
    }
    Ok(())
}

/// Keeps of cargo's package what the rules look at.
fn convert(root: &Path, package: &cargo_metadata::Package) -> Package {
    let folder = package.manifest_path.parent().map(|path| path.as_std_path()).unwrap_or(root);
    Package {
        name: package.name.to_string(),
        folder: tree::relative(root, folder),
        features: package.features.keys().cloned().collect(),
        dependencies: package.dependencies.iter().filter_map(|dependency| ours(root, dependency)).collect(),
        targeted: package.dependencies.iter().filter_map(targeted).collect(),
    }
}

/// The name and condition of a dependency of certain targets only.
fn targeted(dependency: &cargo_metadata::Dependency) -> Option<(String, String)> {
    Some((dependency.name.clone(), dependency.target.as_ref()?.to_string()))
}

/// A dependency of ours or on a path; registry crates are none of the rules' business.
fn ours(root: &Path, dependency: &cargo_metadata::Dependency) -> Option<Dependency> {
    let target = match dependency.path.as_ref().map(|path| path.as_std_path()) {
        Some(path) if path.starts_with(root) => Target::Inside(tree::relative(root, path)),
        Some(path) => Target::Outside(path.display().to_string()),
        None if dependency.name.starts_with(OURS) => {
            Target::Fetched(dependency.source.as_ref().map_or("a registry".into(), ToString::to_string))
        }
        None => return None,
    };
    let kind = match dependency.kind {
        DependencyKind::Development => "dev-",
        DependencyKind::Build => "build-",
        _ => "",
    };
    Some(Dependency { name: dependency.name.clone(), target, kind })
}
