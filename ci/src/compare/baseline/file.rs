//! One file of baselines: a section for each compiler, a count for each operation.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::exit;
use crate::toolchain::Version;

/// Counts by the name of their operation: `switch: yield_insns`.
pub type Counts = BTreeMap<String, f64>;

/// The baselines of one policy on one architecture, by what `rustc --version` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File(BTreeMap<String, Counts>);

impl File {
    /// Reads a file; one that is not there has no sections.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is wrong (121).
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&path.display().to_string(), &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Reads a file's text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// When the text is wrong (121).
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let sections = toml::from_str(text)
            .map_err(|error| exit::usage(format!("{path} holds no baselines: {}", error.to_string().trim_end())))?;
        Ok(Self(sections))
    }

    /// The counts of a compiler.
    pub fn section(&self, rustc: &str) -> Option<&Counts> {
        self.0.get(rustc)
    }

    /// The newest compiler that this file and another have counts of.
    pub fn newest_with(&self, other: &Self) -> Option<&str> {
        let both = self.0.keys().filter(|rustc| other.0.contains_key(*rustc));
        both.max_by_key(|rustc| (Version::parse(rustc), *rustc)).map(String::as_str)
    }

    /// Replaces a compiler's counts of the operations whose names begin with `prefix`.
    pub fn renew(&mut self, rustc: &str, prefix: &str, counts: impl Iterator<Item = (String, f64)>) {
        let section = self.0.entry(rustc.to_owned()).or_default();
        section.retain(|operation, _| !operation.starts_with(prefix));
        section.extend(counts);
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// Never in practice: everything written is text and numbers.
    pub fn text(&self, policy: &str) -> Result<String> {
        let whole = |value: &f64| value.fract() == 0.0 && value.abs() < 1e15;
        let number = |value: &f64| match whole(value) {
            true => toml::Value::Integer(*value as i64),
            false => toml::Value::Float(*value),
        };
        let section = |counts: &Counts| counts.iter().map(|(name, value)| (name.clone(), number(value))).collect();
        let sections: BTreeMap<&String, toml::Table> =
            self.0.iter().map(|(rustc, counts)| (rustc, section(counts))).collect();
        Ok(format!(
            "# Counts of `{policy}` that must not grow by more than {} %, for each compiler: `cargo xtask compare --check`\n\
             # holds new ones against them. Written by `cargo xtask compare --bless`; see docs/measuring.md.\n\n{}",
            super::MOST_GROWTH_PERCENT,
            toml::to_string(&sections)?
        ))
    }
}
