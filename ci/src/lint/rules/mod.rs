//! The house rules as code. Each rule is a function from a source text to findings, with a text that must be found
//! and one that must not in its tests.

mod cfg;
mod forbidden;
mod length;
mod outside;
mod safety;
mod safety_docs;
mod spin;
mod tokens;

use super::{Finding, Source};

/// A rule over one source file.
type Rule = fn(&Source) -> Vec<Finding>;

/// Every rule over Rust source.
const RULES: &[Rule] = &[
    cfg::check,
    forbidden::check,
    forbidden::check_policies,
    length::check,
    outside::check,
    safety::check,
    safety_docs::check,
    spin::check,
];

/// Applies every rule to one Rust file.
pub fn check_rust(source: &Source) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(source)).collect()
}

/// Applies the rules that hold for every kind of source (assembly, scripts).
pub fn check_text(path: &str, text: &str) -> Vec<Finding> {
    length::check_text(path, text)
}

/// Runs one rule over a text, for the tests of the rules: the lines that it finds.
#[cfg(test)]
fn found(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    let source = Source::parse(path, text).expect("the test's text is Rust");
    let mut lines: Vec<_> = rule(&source).iter().map(|finding| finding.line).collect();
    lines.sort_unstable();
    lines
}
