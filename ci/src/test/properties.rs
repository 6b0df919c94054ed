//! `tests/policies.toml`: which policies have which properties, so that a case names what it is about, and a new policy needs
//! one line.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::manifest::Names;
use crate::exit;
use crate::policy::{Policy, join};
use crate::project::Project;

/// What cases that say nothing run under.
const USUAL: &str = "all-cases";

/// The file.
const PATH: &str = "tests/policies.toml";

/// The properties of each policy.
#[derive(Debug)]
pub struct Properties {
    of: BTreeMap<String, BTreeSet<String>>,
}

impl Properties {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or it is wrong (121).
    pub fn read(project: &Project, all: &[Policy]) -> Result<Self> {
        let path = project.root().join(PATH);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, all)
    }

    fn parse(text: &str, all: &[Policy]) -> Result<Self> {
        let wrong = |what: String| exit::usage(format!("{PATH}: {what}"));
        let properties: BTreeMap<String, BTreeSet<String>> =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        if let Some(policy) = all.iter().find(|policy| !properties.contains_key(policy.name())) {
            return Err(wrong(format!("`{policy}` has no line; one without properties is `{policy} = []`")));
        }
        if let Some(name) = properties.keys().find(|name| all.iter().all(|policy| policy.name() != name.as_str())) {
            return Err(wrong(format!("`{name}` is no policy; known: {}", join(all))));
        }
        Ok(Self { of: properties })
    }

    /// The policies that are meant where these policies and properties are named, or nothing is.
    ///
    /// # Errors
    ///
    /// What is neither a policy nor a property.
    pub fn resolve(&self, names: Option<&Names>) -> Result<Names, String> {
        let named = match names {
            None => vec![USUAL.to_owned()],
            Some(Names::All) => self.of.keys().cloned().collect(),
            Some(Names::These(named)) => named.clone(),
        };
        let mut meant = BTreeSet::new();
        for name in &named {
            let having = self.having(name);
            if having.is_empty() {
                let known: BTreeSet<_> = self.of.iter().flat_map(|(name, of)| of.iter().chain([name])).collect();
                let known: Vec<_> = known.into_iter().map(String::as_str).collect();
                return Err(format!("`policies`: {name}: known: {}", known.join(", ")));
            }
            meant.extend(having);
        }
        Ok(Names::These(meant.into_iter().collect()))
    }

    /// The policies of this name, or with this property.
    fn having(&self, name: &str) -> Vec<String> {
        let is_meant = |(policy, of): &(&String, &BTreeSet<String>)| policy.as_str() == name || of.contains(name);
        self.of.iter().filter(is_meant).map(|(policy, _)| policy.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Properties;
    use crate::exit::{Code, code_of};
    use crate::policy::Policy;
    use crate::test::manifest::parse;

    const GOOD: &str = "ebbs = [\"rests-at-switch\"]\nstatic = [\"all-cases\"]\n";

    fn all() -> Vec<Policy> {
        ["ebbs", "static"].map(Policy::for_test).to_vec()
    }

    fn resolved(policies: &str) -> Result<Vec<String>, String> {
        let text = format!("[[case]]\nname = \"c\"\npackage = \"p\"\nkind = \"end\"\n{policies}\n");
        let mut case = parse("cases.toml", &text).unwrap().remove(0);
        case.policies = Some(Properties::parse(GOOD, &all()).unwrap().resolve(case.policies.as_ref())?);
        Ok(all().iter().map(ToString::to_string).filter(|policy| case.runs_under(policy)).collect())
    }

    #[test]
    fn a_case_runs_under_the_policies_that_it_names_or_that_have_what_it_names() {
        for (policies, meant) in [
            ("", &["static"][..]),
            ("policies = \"all\"", &["ebbs", "static"]),
            ("policies = [\"ebbs\"]", &["ebbs"]),
            ("policies = [\"rests-at-switch\"]", &["ebbs"]),
            ("policies = [\"rests-at-switch\", \"all-cases\"]", &["ebbs", "static"]),
        ] {
            assert_eq!(
                resolved(policies).as_deref(),
                Ok(&meant.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
        let error = resolved("policies = [\"rests\"]").unwrap_err();
        assert!(error.contains("`policies`: rests: known: all-cases, ebbs, rests-at-switch, static"), "{error}");
    }

    #[test]
    fn every_policy_has_its_line() {
        for (good, bad, part) in [
            ("static = [\"all-cases\"]", "", "`static` has no line"),
            ("static = ", "statics = [\"all-cases\"]\nstatic = ", "`statics` is no policy; known: ebbs, static"),
            ("static = [", "static = [1, ", "line 2"),
        ] {
            let error = Properties::parse(&GOOD.replace(good, bad), &all()).expect_err(bad);
            assert_eq!(code_of(&error), Code::USAGE);
            assert!(error.to_string().contains(part), "{bad}: {error}");
        }
    }
}
