//! Which cases are meant, by their names.

use anyhow::Error;
use clap::builder::NonEmptyStringValueParser;

use crate::exit;

/// The flags of `test` and `matrix` that choose cases by their names.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,
    /// No case whose name contains one of these
    #[arg(long, value_name = "TEXT", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub(super) skip: Vec<String>,
}

impl Filter {
    /// Whether it names anything at all.
    pub fn is_given(&self) -> bool {
        self.filter.is_some() || !self.skip.is_empty()
    }

    /// Whether a case of this name is to be run.
    pub fn wants(&self, name: &str) -> bool {
        let has = |part: &String| name.contains(part.as_str());
        self.filter.as_ref().is_none_or(has) && !self.skip.iter().any(has)
    }

    /// What is wrong when it leaves none of so many cases, or guests.
    pub fn leaves_none_of(&self, count: usize, what: &str) -> Error {
        let flag = |flag, text: &str| if text.is_empty() { String::new() } else { format!("{flag} {text} ") };
        let flags =
            flag("--filter", self.filter.as_deref().unwrap_or_default()) + &flag("--skip", &self.skip.join(","));
        exit::usage(format!(
            "{}: leaves none of the {count} {what}; --list shows them by their names",
            flags.trim_end()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::exit::{Code, code_of};

    fn filter(filter: Option<&str>, skip: &[&str]) -> Filter {
        Filter { filter: filter.map(Into::into), skip: skip.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn names_are_wanted_and_not() {
        let names = ["guest::suite", "guest::suite-pc", "lint::fmt"];
        let wanted = |filter: &Filter| names.map(|name| filter.wants(name));
        assert_eq!(wanted(&filter(None, &[])), [true, true, true]);
        assert_eq!(wanted(&filter(Some("suite"), &[])), [true, true, false]);
        assert_eq!(wanted(&filter(None, &["-pc", "lint"])), [true, false, false]);
        assert_eq!(wanted(&filter(Some("guest"), &["suite-"])), [true, false, false]);
    }

    #[test]
    fn the_flags_that_leave_nothing_are_named() {
        for (filter, words) in [
            (filter(Some("a"), &[]), "--filter a: leaves none of the 7 cases"),
            (filter(None, &["a", "b"]), "--skip a,b: leaves"),
            (filter(Some("a"), &["b"]), "--filter a --skip b: leaves"),
        ] {
            let error = filter.leaves_none_of(7, "cases");
            assert_eq!(code_of(&error), Code::USAGE);
            assert!(error.to_string().starts_with(words), "{error}");
        }
    }
}
