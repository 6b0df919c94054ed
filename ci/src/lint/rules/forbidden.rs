//! Macros that mark unfinished work, and the promise that every policy makes.

use super::tokens::{each_sequence, ident, is_punct, line};
use crate::lint::{Finding, Source};

/// Macros that must not be left behind, and what to do.
const MACROS: &[(&str, &str)] = &[
    ("todo", "write the code, or take the path out"),
    ("unimplemented", "write the code, or return an error that says what is missing"),
    ("dbg", "take it out, or log with `log::debug!`"),
];

/// Finds macros of unfinished work.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    each_sequence(&source.tokens, &mut |sequence| {
        for (index, tree) in sequence.iter().enumerate() {
            let Some(name) = ident(Some(tree)) else {
                continue;
            };
            let called = is_punct(sequence.get(index + 1), '!') && !is_punct(sequence.get(index + 2), '=');
            if let Some((name, advice)) = MACROS.iter().find(|(known, _)| called && *known == name) {
                findings.push(source.finding(line(tree), "unfinished", format!("`{name}!`: {advice}")));
            }
        }
    });
    findings
}

/// Checks that each policy forbids unsafe code in its `lib.rs`.
pub fn check_policies(source: &Source) -> Vec<Finding> {
    let is_root = source.path.starts_with("policies/") && source.path.ends_with("/src/lib.rs");
    let forbids = source.syntax.attrs.iter().any(|attribute| {
        attribute.path().is_ident("forbid")
            && attribute.parse_args::<syn::Path>().is_ok_and(|lint| lint.is_ident("unsafe_code"))
    });
    if is_root && !forbids {
        let text = "a policy must not be able to corrupt a stack: add `#![forbid(unsafe_code)]`";
        return vec![source.finding(1, "forbid-unsafe", text)];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::{check, check_policies};

    #[test]
    fn finds_unfinished_work() {
        let text = "fn f() -> u8 {\n    dbg!(1);\n    todo!()\n}\nmacro_rules! m { () => { unimplemented!() } }\n";
        assert_eq!(found(check, "core/src/lib.rs", text), [2, 3, 5]);
    }

    #[test]
    fn leaves_words_alone() {
        let text = "//! todo!()\nfn todo(dbg: bool) -> bool { let s = \"dbg!(x)\"; dbg != s.is_empty() }\n";
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }

    #[test]
    fn a_policy_forbids_unsafe_code() {
        let without = "//! A policy.\n#![no_std]\n";
        let with = "//! A policy.\n#![no_std]\n#![forbid(unsafe_code)]\n";
        assert_eq!(found(check_policies, "policies/new/src/lib.rs", without), [1]);
        assert_eq!(found(check_policies, "policies/new/src/lib.rs", with), [0; 0]);
        assert_eq!(found(check_policies, "policies/new/src/other.rs", without), [0; 0]);
        assert_eq!(found(check_policies, "core/src/lib.rs", without), [0; 0]);
    }
}
