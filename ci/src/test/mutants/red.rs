//! Which test must go red: the value of a mutant's key `Red`.

use std::fmt;
use std::str::FromStr;

use crate::arch::Arch;
use crate::policy::{Policy, join};
use crate::test::host::Tested;
use crate::test::manifest::{GuestCase, Kind};

/// A test that must fail on a mutant, and pass without it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Red {
    /// Of a package's tests on the host, that of this name, or those whose names begin with it.
    Host {
        /// The package.
        package: String,
        /// The name.
        test: String,
    },
    /// A model of loom's, likewise.
    Loom {
        /// The name.
        test: String,
    },
    /// A guest.
    Guest(GuestRed),
    /// What `test` says about the quick comparison: the line of this name, or those whose names begin with it.
    Compare {
        /// The name.
        test: String,
    },
}

/// A guest that must fail.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct GuestRed {
    /// The name of a case in `tests/cases.toml`; behind `::` that of one of its tests, or how it begins.
    pub name: String,
    /// The policy.
    pub policy: String,
    /// The architecture.
    pub arch: Arch,
    /// Whether the image checks its own invariants, whatever the case says.
    pub audit: bool,
    /// The code that the guest must end with, if that is what fails.
    pub code: Option<u8>,
}

/// The forms, for messages.
const FORMS: &str = "host PACKAGE TEST, loom TEST, guest CASE[::TEST] policy=NAME [arch=NAME] [audit=true] [code=N], \
                     compare NAME";

impl FromStr for Red {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words[..] {
            ["host", package, test] => Ok(Self::Host { package: package.to_owned(), test: test.to_owned() }),
            ["loom", test] => Ok(Self::Loom { test: test.to_owned() }),
            ["guest", name, ref keys @ ..] => guest(name, keys).map(Self::Guest),
            ["compare", _, ..] => Ok(Self::Compare { test: words[1..].join(" ") }),
            _ => Err("known forms: ".to_owned() + FORMS),
        }
        .map_err(|what| format!("`Red: {text}`: {what}"))
    }
}

fn guest(name: &str, keys: &[&str]) -> Result<GuestRed, String> {
    let mut red =
        GuestRed { name: name.to_owned(), policy: String::new(), arch: Arch::EXISTING[0], audit: false, code: None };
    for word in keys {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, not `{word}`"))?;
        match (key, value) {
            ("policy", name) => red.policy = name.to_owned(),
            ("arch", name) => red.arch = name.parse().map_err(|known| format!("`arch={name}`: {known}"))?,
            ("audit", "true") => red.audit = true,
            ("audit", "false") => red.audit = false,
            ("audit", other) => return Err(format!("`audit={other}`: known: true, false")),
            ("code", number) => {
                red.code = Some(number.parse().map_err(|_| format!("`code={number}`: expected 0 to 107"))?);
            }
            _ => return Err(format!("unknown key `{key}`; known: policy, arch, audit, code")),
        }
    }
    if red.policy.is_empty() { Err("`policy=NAME` is missing".to_owned()) } else { Ok(red) }
}

impl fmt::Display for Red {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { package, test } => write!(out, "host {package} {test}"),
            Self::Loom { test } => write!(out, "loom {test}"),
            Self::Compare { test } => write!(out, "compare {test}"),
            Self::Guest(GuestRed { name, policy, arch, audit, code }) => {
                write!(out, "guest {name} policy={policy} arch={arch}")?;
                if *audit {
                    write!(out, " audit=true")?;
                }
                code.map_or(Ok(()), |code| write!(out, " code={code}"))
            }
        }
    }
}

impl Red {
    /// Whether it is about the code that a guest ends with, which says why it fails.
    pub fn has_code(&self) -> bool {
        matches!(self, Self::Guest(GuestRed { code: Some(_), .. }))
    }

    /// Whether images are built for it.
    pub fn needs_images(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::Compare { .. })
    }
}

/// What there is to be named.
pub struct Known {
    /// Packages with tests for the host.
    pub packages: Vec<Tested>,
    /// Guests.
    pub cases: Vec<GuestCase>,
    /// Policies.
    pub policies: Vec<Policy>,
}

impl Known {
    /// Checks that what a test names is there, as far as that can be told without running it.
    ///
    /// # Errors
    ///
    /// With what there is.
    pub fn check(&self, red: &Red) -> Result<(), String> {
        match red {
            Red::Host { package, .. } => self.package(package).map(|_| ()),
            Red::Loom { .. } | Red::Compare { .. } => Ok(()),
            Red::Guest(guest) => self.guest(guest).map(|_| ()),
        }
        .map_err(|what| format!("`Red: {red}`: {what}"))
    }

    /// A package with tests for the host.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn package(&self, name: &str) -> Result<&Tested, String> {
        let names = || self.packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = self.packages.iter().find(|package| package.name == name);
        found.ok_or_else(|| format!("`{name}` has no tests for this host; known: {}", names()))
    }

    /// A guest's case, the test that is meant of it, and the policy.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn guest<'a>(&self, red: &'a GuestRed) -> Result<(&GuestCase, Option<&'a str>, &Policy), String> {
        let (name, test) =
            red.name.split_once("::").map_or((red.name.as_str(), None), |(name, test)| (name, Some(test)));
        let case = self.cases.iter().find(|case| case.name == name);
        let case = case.ok_or_else(|| format!("tests/cases.toml has no case `{name}`"))?;
        let policy = self.policies.iter().find(|policy| policy.name() == red.policy);
        let policy = policy.ok_or_else(|| format!("`policy={}`: known: {}", red.policy, join(&self.policies)))?;
        if !case.runs_under(&red.policy) || !case.archs.contain(red.arch.name()) {
            return Err(format!("the case `{name}` does not run under {} on {}", red.policy, red.arch));
        }
        match case.kind {
            Kind::Damaged => Err(format!("the case `{name}` is of kind \"damaged\", which is about images, not code")),
            Kind::End if test.is_some() => Err(format!("the case `{name}` is of kind \"end\": it is one test")),
            Kind::Suite | Kind::End => Ok((case, test, policy)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::manifest::parse;

    #[test]
    fn every_form_is_read_and_shown() {
        for (text, shown) in [
            ("host ebbtide-core  stack::tests::one", "host ebbtide-core stack::tests::one"),
            ("loom models::one", "loom models::one"),
            ("guest suite::stacks::one policy=static", "guest suite::stacks::one policy=static arch=x86_64"),
            (
                "guest hello code=107 audit=true policy=static arch=x86_64",
                "guest hello policy=static arch=x86_64 audit=true code=107",
            ),
            ("compare idle-machines::AMD Rome 256", "compare idle-machines::AMD Rome 256"),
        ] {
            assert_eq!(text.parse::<Red>().map(|red| red.to_string()).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn wrong_forms_are_refused() {
        for (text, said) in [
            ("", "known forms: host PACKAGE TEST"),
            ("host ebbtide-core", "known forms"),
            ("guest suite", "`policy=NAME` is missing"),
            ("guest suite static", "KEY=VALUE, not `static`"),
            ("guest suite policy=static smp=2", "unknown key `smp`; known: policy, arch, audit, code"),
            ("guest suite policy=static arch=vax", "`arch=vax`: known: x86_64"),
            ("guest suite policy=static audit=maybe", "known: true, false"),
            ("guest suite policy=static code=300", "expected 0 to 107"),
        ] {
            let refusal = text.parse::<Red>().expect_err(text);
            assert!(refusal.contains(said) && refusal.contains(text), "{refusal}");
        }
    }

    #[test]
    fn names_are_checked() {
        let cases = "[[case]]\nname = \"suite\"\npackage = \"p\"\nkind = \"suite\"\npolicies = [\"static\"]\n\
                     [[case]]\nname = \"end\"\npackage = \"p\"\nkind = \"end\"\n\
                     [[case]]\nname = \"broken\"\npackage = \"p\"\nkind = \"damaged\"\n";
        let known = Known {
            packages: vec![Tested { name: "ebbtide-core".to_owned(), lib: false }],
            cases: parse("cases.toml", cases).unwrap(),
            policies: Vec::new(),
        };
        let said = |text: &str| known.check(&text.parse().unwrap());
        assert_eq!(said("host ebbtide-core stack"), Ok(()));
        for (text, part) in [
            ("host core stack", "known: ebbtide-core"),
            ("guest suites policy=static", "no case `suites`"),
            ("guest suite policy=static", "`policy=static`: known:"),
        ] {
            assert!(said(text).unwrap_err().contains(part), "{text}");
        }
    }
}
