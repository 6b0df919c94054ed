//! The stack policies, as the manifest of the crate `ebbtide` names them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use cargo_metadata::{Dependency, Package};

use crate::build::metadata;
use crate::exit;
use crate::project::Project;

/// The name of a stack policy, checked against the manifest.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Policy(String);

/// Features of `ebbtide` that are not policies.
const NOT_POLICIES: &[&str] = &["audit", "default"];

/// What an app gets when neither it nor the command line names a policy.
const DEFAULT: &str = "reclaim-on-sleep";

impl Policy {
    /// The policy's name, which is its feature's.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// All policies: a new one needs nothing but its feature.
    ///
    /// # Errors
    ///
    /// When the manifest of `ebbtide` cannot be read.
    pub fn all(project: &Project) -> anyhow::Result<Vec<Self>> {
        let package =
            metadata::package(&project.ebbtide_manifest()).context("looking up the policies of the crate `ebbtide`")?;
        Ok(named_by(&package.features))
    }

    #[cfg(test)]
    pub fn for_test(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Chooses the policy of an app: the one asked for, else the one its manifest selects, else the default.
    ///
    /// # Errors
    ///
    /// A clash between the two, and a manifest that selects more than one, are wrong arguments.
    pub fn choose(app: &Package, asked: Option<&Self>, all: &[Self]) -> anyhow::Result<Self> {
        let selected = selected_by(app, all);
        match (selected.as_slice(), asked) {
            ([], Some(asked)) => Ok(asked.clone()),
            ([], None) => Ok(Self(DEFAULT.to_owned())),
            ([one], None) => Ok(one.clone()),
            ([one], Some(asked)) if one == asked => Ok(one.clone()),
            ([one], Some(asked)) => Err(exit::usage(format!(
                "--policy {asked} clashes with the manifest of `{}`, which selects the policy `{one}`; leave out the \
                 flag, or remove the feature from {}",
                app.name, app.manifest_path
            ))),
            (several, _) => Err(exit::usage(format!(
                "the manifest of `{}` selects {} policies ({}), but a build has exactly one; keep one in {}",
                app.name,
                several.len(),
                join(several),
                app.manifest_path
            ))),
        }
    }
}

/// The dependency on `ebbtide` of an app, if it has one.
pub fn dependency(app: &Package) -> Option<&Dependency> {
    app.dependencies.iter().find(|one| one.name == "ebbtide")
}

/// The name under which an app knows the crate `ebbtide`.
pub fn local_name(dependency: &Dependency) -> &str {
    dependency.rename.as_deref().unwrap_or(&dependency.name)
}

/// Names in a row, for messages.
pub fn join(policies: &[Policy]) -> String {
    let names: Vec<_> = policies.iter().map(Policy::name).collect();
    names.join(", ")
}

fn named_by(features: &BTreeMap<String, Vec<String>>) -> Vec<Policy> {
    features.keys().filter(|name| !NOT_POLICIES.contains(&name.as_str())).cloned().map(Policy).collect()
}

/// The policies that an app's manifest selects: at the dependency, or through the app's default features.
fn selected_by(app: &Package, all: &[Policy]) -> Vec<Policy> {
    let Some(dependency) = dependency(app) else {
        return Vec::new();
    };
    let prefix = format!("{}/", local_name(dependency));
    let by_default = default_features(app);
    let mut selected: Vec<_> = by_default
        .iter()
        .filter_map(|feature| feature.strip_prefix(&prefix))
        .chain(dependency.features.iter().map(String::as_str))
        .filter_map(|name| all.iter().find(|policy| policy.name() == name))
        .cloned()
        .collect();
    selected.sort();
    selected.dedup();
    selected
}

/// What the feature `default` of an app turns on, followed to its end.
fn default_features(app: &Package) -> Vec<String> {
    let mut found = vec!["default".to_owned()];
    let mut next = 0;
    while let Some(feature) = found.get(next).cloned() {
        for implied in app.features.get(&feature).into_iter().flatten() {
            if !found.contains(implied) {
                found.push(implied.clone());
            }
        }
        next += 1;
    }
    found
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = Project::find().and_then(|project| Self::all(&project)).map_err(|error| format!("{error:#}"))?;
        all.iter().find(|policy| policy.name() == name).cloned().ok_or_else(|| format!("known: {}", join(&all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Code, code_of};

    /// The package of an app with the given lines in its manifest.
    fn app(lines: &str) -> Package {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        let head = "[package]\nname = \"app\"\nedition = \"2024\"\n[workspace]\n";
        std::fs::write(&manifest, format!("{head}{lines}")).unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/main.rs"), "").unwrap();
        metadata::package(&manifest).unwrap()
    }

    fn all() -> Vec<Policy> {
        ["ensure", "reclaim-on-sleep", "static"].map(|name| Policy(name.to_owned())).to_vec()
    }

    fn chosen(lines: &str, asked: Option<&str>) -> Result<String, Code> {
        let asked = asked.map(|name| Policy(name.to_owned()));
        Policy::choose(&app(lines), asked.as_ref(), &all())
            .map(|policy| policy.name().to_owned())
            .map_err(|error| code_of(&error))
    }

    const PLAIN: &str = "[dependencies]\nebbtide = { version = \"1\" }\n";
    const STATIC: &str = "[dependencies]\nebbtide = { version = \"1\", features = [\"audit\", \"static\"] }\n";
    const BY_DEFAULT: &str = "[dependencies]\nstacks = { version = \"1\", package = \"ebbtide\" }\n\
                              [features]\ndefault = [\"small\"]\nsmall = [\"stacks/ensure\"]\nother = [\"stacks/static\"]\n";

    #[test]
    fn the_flag_decides_where_the_manifest_is_silent() {
        assert_eq!(chosen(PLAIN, None).as_deref(), Ok(DEFAULT));
        assert_eq!(chosen(PLAIN, Some("static")).as_deref(), Ok("static"));
    }

    #[test]
    fn the_manifest_decides_without_a_flag() {
        assert_eq!(chosen(STATIC, None).as_deref(), Ok("static"));
        assert_eq!(chosen(STATIC, Some("static")).as_deref(), Ok("static"));
        assert_eq!(chosen(BY_DEFAULT, None).as_deref(), Ok("ensure"));
    }

    #[test]
    fn clashes_are_refused() {
        assert_eq!(chosen(STATIC, Some("ensure")), Err(Code::USAGE));
        assert_eq!(chosen(BY_DEFAULT, Some("static")), Err(Code::USAGE));
        let both = STATIC.replace("\"audit\"", "\"ensure\"");
        assert_eq!(chosen(&both, None), Err(Code::USAGE));
    }

    #[test]
    fn features_that_are_no_policies_are_left_out() {
        let features = ["audit", "default", "static"].map(|name| (name.to_owned(), Vec::new()));
        assert_eq!(named_by(&features.into()), [Policy("static".to_owned())]);
    }
}
