//! Holds the packages against the table of arrows.

use super::graph::{Dependency, Package, Target};
use super::rules::{ARROWS, FEATURES, NAMES, PLATFORM_ARCH, PORTABLE, matches, rule_of};
use crate::lint::Finding;

/// Checks every package; an empty answer is a pass.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

/// Checks one package: its place, its name, its features, its arrows.
fn check_package(package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(arrow) = rule_of(&package.folder) else {
        let known: Vec<_> = ARROWS.iter().map(|arrow| arrow.from).collect();
        findings.push(finding(
            package,
            "folder",
            format!(
                "no rule says what a package in {} may depend on: move it to one of {}, or add a line to ci/src/deps/rules.rs",
                package.folder,
                known.join(", ")
            ),
        ));
        return findings;
    };
    findings.extend(check_name(package));
    findings.extend(check_features(package));
    findings.extend(check_targets(package));
    for dependency in &package.dependencies {
        findings.extend(check_dependency(package, dependency, arrow.to, arrow.why));
    }
    findings
}

/// Checks the names that are fixed.
fn check_name(package: &Package) -> Option<Finding> {
    let (_, name) = NAMES.iter().find(|(folder, _)| *folder == package.folder)?;
    (package.name != *name).then(|| {
        finding(
            package,
            "name",
            format!("the package is called {}: call it {name}, its name in all other manifests", package.name),
        )
    })
}

/// Checks that features stay in the composition root.
fn check_features(package: &Package) -> Option<Finding> {
    if package.features.is_empty() || package.folder == FEATURES {
        return None;
    }
    let names = package.features.join(", ");
    Some(finding(
        package,
        "features",
        format!(
            "has cargo features ({names}): only {FEATURES} has features; pass a type or constant of `System` instead"
        ),
    ))
}

/// Checks that portable packages are the same for every machine.
fn check_targets(package: &Package) -> Vec<Finding> {
    if !PORTABLE.iter().any(|pattern| matches(pattern, &package.folder)) {
        return Vec::new();
    }
    // A condition without `cfg` is a target's name. `cfg(loom)` and the like ask for no machine.
    let machine = |condition: &str| !condition.starts_with("cfg(") || condition.contains("target_");
    let targeted = package.targeted.iter().filter(|(_, condition)| machine(condition));
    targeted
        .map(|(name, condition)| {
            let text =
                format!("dependency {name} is for {condition} alone: use it everywhere, or in arch/ and platforms/");
            finding(package, "target", text)
        })
        .collect()
}

/// Checks one arrow.
fn check_dependency(package: &Package, dependency: &Dependency, to: &[&str], why: &str) -> Option<Finding> {
    let Dependency { name, target, kind } = dependency;
    match target {
        Target::Outside(path) => Some(finding(
            package,
            "outside",
            format!(
                "{kind}dependency {name} lies at {path}, outside the repository: use a registry's crate or a folder in here"
            ),
        )),
        Target::Fetched(source) => Some(finding(
            package,
            "fetched",
            format!("{kind}dependency {name} comes from {source}: take ours by its path in here, or another name"),
        )),
        Target::Inside(folder) => {
            let own_arch = |&(platform, arch): &(&str, &str)| {
                platform == package.folder && folder.starts_with("arch/") && arch != folder
            };
            let allowed = to.iter().any(|pattern| matches(pattern, folder)) && !PLATFORM_ARCH.iter().any(own_arch);
            (!allowed).then(|| {
                finding(
                    package,
                    "arrow",
                    format!("{kind}dependency {name} points from {} to {folder}: drop it; {why}", package.folder),
                )
            })
        }
    }
}

/// A finding on a package's manifest.
fn finding(package: &Package, rule: &'static str, text: String) -> Finding {
    Finding::new(format!("{}/Cargo.toml", package.folder), 0, rule, text)
}
