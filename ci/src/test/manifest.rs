//! `tests/cases.toml`: the guests that are booted, and how each must end. The file's head documents its keys.

use std::collections::BTreeSet;

use anyhow::Result;
use regex::Regex;
use serde::Deserialize;

use crate::cli::Profile;
use crate::cli::{Selected, cpus, memory};
use crate::exit;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    case: Vec<GuestCase>,
}

/// One guest case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestCase {
    /// Its name, once in the file.
    pub name: String,
    /// What is built: an example's name, or a folder of the repository.
    pub package: String,
    /// Which binary of the package; without it the only one.
    pub bin: Option<String>,
    /// The profile that it is about; without it those that `--profile` names.
    pub profile: Option<Profile>,
    /// What is expected of it.
    pub kind: Kind,
    /// The guest's command line.
    #[serde(default)]
    pub args: String,
    /// Memory, in QEMU's form.
    #[serde(default = "default_memory")]
    pub memory: String,
    /// QEMU's machine type; without it the architecture's default.
    pub machine: Option<String>,
    /// The number of CPUs that it is about; without it those that `--smp` names, or one.
    pub smp: Option<u8>,
    /// Whether its image is built with the feature `audit`, also without `--audit`.
    #[serde(default)]
    pub audit: bool,
    /// The CPU model.
    #[serde(default = "default_cpu")]
    pub cpu: String,
    /// Whether the virtual clock counts instructions.
    #[serde(default)]
    pub icount: bool,
    /// When it is given up.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    /// What it becomes with `--soak`; without it, it stays as it is.
    pub soak: Option<Soak>,
    /// Under which policies: names, and properties that `tests/policies.toml` gives policies.
    pub policies: Option<Names>,
    /// On which architectures.
    #[serde(default)]
    pub archs: Names,
    /// A folder of the repository: a bare-metal program that is packed with the kernel in place of the project's loader.
    pub loader: Option<String>,
    /// More arguments for QEMU.
    #[serde(default)]
    pub qemu: Vec<String>,
    /// Why it fails, if it is known to: then it must.
    pub fails: Option<String>,
    /// How it must end.
    #[serde(default)]
    pub expect: Expect,
}

/// The long form of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    /// The guest's command line.
    pub args: String,
    /// When it is given up.
    pub timeout_seconds: u32,
}

impl GuestCase {
    /// The case in its long form, if it has one.
    pub fn soaked(self) -> Self {
        match self.soak.clone() {
            Some(Soak { args, timeout_seconds }) => Self { args, timeout_seconds, ..self },
            None => self,
        }
    }

    /// Whether it runs under a policy. Properties are [resolved](super::properties::Properties::resolve) by now.
    pub fn runs_under(&self, policy: &str) -> bool {
        self.policies.as_ref().is_some_and(|names| names.contain(policy))
    }
}

/// What a case is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Many tests in one guest, which prints a line for each.
    Suite,
    /// One test: the way in which the guest ends.
    End,
    /// A boot for each way in which `damage` spoils the guest's image: each must end as expected.
    Damaged,
}

/// `"all"`, or a list of names.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "toml::Value")]
pub enum Names {
    /// All there are.
    #[default]
    All,
    /// These.
    These(Vec<String>),
}

impl TryFrom<toml::Value> for Names {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let wrong = "expected \"all\" or a list of names, as [\"static\"]";
        match value {
            toml::Value::String(word) if word == "all" => Ok(Self::All),
            toml::Value::Array(names) if !names.is_empty() => {
                let names = names.into_iter().map(|name| name.as_str().map(str::to_owned).ok_or(wrong));
                names.collect::<Result<_, _>>().map(Self::These)
            }
            _ => Err(wrong),
        }
    }
}

impl Names {
    /// Whether a name is meant.
    pub fn contain(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|known| known == name),
        }
    }
}

/// How a case must end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The code, in the exit status and in the last line.
    #[serde(default)]
    pub code: u8,
    /// The word in the last line, if it matters.
    pub reason: Option<String>,
    /// Regular expressions: a line for each, in this order. `{policy}` is the policy's name.
    #[serde(default)]
    pub lines: Vec<String>,
    /// Regular expressions that no line may match.
    #[serde(default)]
    pub absent: Vec<String>,
}

fn default_memory() -> String {
    "256M".into()
}

fn default_cpu() -> String {
    "max".into()
}

fn default_timeout() -> u32 {
    60
}

/// Reads the cases.
///
/// # Errors
///
/// When the text is wrong (121): with the line and key, or the case and what is allowed.
pub fn parse(path: &str, text: &str) -> Result<Vec<GuestCase>> {
    let file: File = toml::from_str(text)
        .map_err(|error| exit::usage(format!("{path} is no list of cases: {}", error.to_string().trim_end())))?;
    let mut names = BTreeSet::new();
    for case in &file.case {
        let wrong = |what: String| exit::usage(format!("{path}: case `{}`: {what}", case.name));
        if !names.insert(&case.name) {
            return Err(wrong("`name` stands there twice; each case has its own".into()));
        }
        check(case).map_err(wrong)?;
    }
    Ok(file.case)
}

/// Checks what the types do not say.
fn check(case: &GuestCase) -> Result<(), String> {
    if let Some(smp) = case.smp {
        cpus(&smp.to_string()).map_err(|allowed| format!("`smp` is {smp}; {allowed}"))?;
    }
    memory(&case.memory).map_err(|allowed| format!("`memory` is {}; {allowed}", case.memory))?;
    for (key, value) in [("cpu", Some(&case.cpu)), ("machine", case.machine.as_ref())] {
        if let Some(Err(allowed)) = value.map(|value| value.parse::<Selected>()) {
            return Err(format!("`{key}`: {allowed}"));
        }
    }
    if case.timeout_seconds == 0 {
        return Err("`timeout_seconds` is at least 1".into());
    }
    if let Some(soak) = &case.soak
        && soak.timeout_seconds < case.timeout_seconds
    {
        return Err(format!("`soak.timeout_seconds` is at least the usual {}", case.timeout_seconds));
    }
    if case.kind == Kind::Suite && case.expect.code != 0 {
        return Err("a suite ends with code 0; take kind = \"end\" for another `code`".into());
    }
    if case.kind != Kind::End && case.fails.is_some() {
        return Err("`fails` is for kind = \"end\", which is one test".into());
    }
    for pattern in case.expect.lines.iter().chain(&case.expect.absent) {
        Regex::new(pattern.replace("{policy}", "").as_str()).map_err(|error| format!("`{pattern}`: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{GuestCase, Kind, Names, parse};
    use crate::exit::{Code, code_of};

    const GOOD: &str = r#"
[[case]]
name = "traps"
package = "tests/guest/traps"
kind = "suite"

[[case]]
name = "overflow"
package = "overflow"
kind = "end"
policies = ["static"]
timeout_seconds = 10
expect = { code = 102, reason = "stack-overflow", lines = ["^overflow .* {policy}$"], absent = ["panic"] }
"#;

    #[test]
    fn defaults_are_filled_in() {
        let cases = parse("cases.toml", GOOD).expect("good cases");
        assert_eq!((cases[0].kind, cases[0].smp, cases[0].memory.as_str()), (Kind::Suite, None, "256M"));
        assert_eq!((&cases[0].policies, &cases[0].archs), (&None, &Names::All));
        assert!(cases[1].runs_under("static") && !cases[1].runs_under("other"));
        assert_eq!(cases[1].expect.code, 102);
        assert!(!cases[1].audit);
        let audited = GOOD.replace("timeout_seconds = 10", "audit = true");
        assert!(parse("cases.toml", &audited).expect("good cases")[1].audit);
    }

    #[test]
    fn a_case_has_a_long_form_if_it_says_so() {
        let text = GOOD.replace(
            "timeout_seconds = 10",
            "timeout_seconds = 10\nsoak = { args = \"calls=9\", timeout_seconds = 90 }",
        );
        let cases: Vec<_> =
            parse("cases.toml", &text).expect("good cases").into_iter().map(GuestCase::soaked).collect();
        assert_eq!((cases[0].args.as_str(), cases[0].timeout_seconds), ("", 60));
        assert_eq!((cases[1].args.as_str(), cases[1].timeout_seconds), ("calls=9", 90));
    }

    #[test]
    fn no_case_expects_a_number_of_cpus_that_is_not_its_own() {
        // With `--smp` it would fail for nothing else.
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases.toml")).expect("a list");
        let number = regex::Regex::new(r"\d CPUs?\b").expect("a pattern");
        let lines = |case: &GuestCase| [&case.expect.lines[..], &case.expect.absent].concat();
        let all = parse("cases.toml", &text).expect("good cases");
        let wrong: Vec<_> = all
            .iter()
            .filter(|case| case.smp.is_none() && lines(case).iter().any(|line| number.is_match(line)))
            .map(|case| &case.name)
            .collect();
        assert!(wrong.is_empty(), "`\\d+ CPUs`, or a number of their own: {wrong:?}");
    }

    #[test]
    fn wrong_files_are_refused() {
        for (good, bad, part) in [
            ("kind = \"end\"", "kind = \"start\"", "suite"),
            ("package = \"overflow\"", "packages = \"overflow\"", "`package`"),
            ("name = \"overflow\"", "name = \"traps\"", "twice"),
            ("timeout_seconds = 10", "timeout_seconds = 0", "at least 1"),
            ("timeout_seconds = 10", "smp = 17", "1 to 16"),
            ("timeout_seconds = 10", "soak = { args = \"\", timeout_seconds = 9 }", "the usual 60"),
            ("timeout_seconds = 10", "audit = \"yes\"", "boolean"),
            ("timeout_seconds = 10", "memory = \"much\"", "QEMU"),
            ("policies = [\"static\"]", "policies = \"some\"", "\"all\""),
            ("policies = [\"static\"]", "policies = []", "\"all\""),
            ("\"panic\"", "\"(panic\"", "panic"),
            ("kind = \"suite\"", "kind = \"suite\"\nexpect = { code = 1 }", "kind = \"end\""),
        ] {
            let error = parse("cases.toml", &GOOD.replace(good, bad)).expect_err(bad);
            assert_eq!(code_of(&error), Code::USAGE);
            assert!(error.to_string().contains(part), "{bad}: {error}");
        }
    }
}
