//! A source file belongs to one package: none takes in another's by `#[path]` or `include!`, past all arrows.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::LitStr;

use super::tokens::{each_sequence, ident, is_punct, line};
use crate::lint::{Finding, Source};

/// The files that may, by the start of their path, and why.
const ALLOWED: &[(&str, &str)] = &[(
    "tests/compile-fail/tests/ui/",
    "each case compiles the very source whose refusal it is about, which no dependency can do: it would not build",
)];

/// Macros that take in a file.
const MACROS: &[&str] = &["include", "include_str", "include_bytes"];

/// Finds Rust sources that are taken in from another folder.
pub fn check(source: &Source) -> Vec<Finding> {
    if ALLOWED.iter().any(|(start, _)| source.path.starts_with(start)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    each_sequence(&source.tokens, &mut |sequence| {
        for index in 0..sequence.len() {
            if module_path(sequence, index) || included(sequence, index) {
                let text = "takes in a source from another folder: depend on its package, or move what both need";
                findings.push(source.finding(line(&sequence[index]), "outside", text));
            }
        }
    });
    findings
}

/// Whether an attribute starts here that gives a module a file elsewhere: `#[path = "…"]`, `#[cfg_attr(…, path = "…")]`.
fn module_path(sequence: &[TokenTree], index: usize) -> bool {
    let attribute = is_punct(sequence.get(index), '#');
    let Some(group) = group(sequence.get(index + 1)).filter(|group| group.delimiter() == Delimiter::Bracket) else {
        return false;
    };
    let first = ident(group.stream().into_iter().next().as_ref());
    let names = matches!(first.as_deref(), Some("path" | "cfg_attr"));
    let mut found = false;
    each_sequence(&group.stream(), &mut |inner| {
        found |= inner.windows(3).any(|three| {
            ident(three.first()).as_deref() == Some("path")
                && is_punct(three.get(1), '=')
                && text(&three[2]).is_some_and(|path| leaves(&path))
        });
    });
    attribute && names && found
}

/// Whether a macro starts here that takes in a Rust source from elsewhere. What `include!` takes in is always Rust.
fn included(sequence: &[TokenTree], index: usize) -> bool {
    let Some(name) = ident(sequence.get(index)).filter(|name| MACROS.contains(&name.as_str())) else {
        return false;
    };
    let Some(group) = group(sequence.get(index + 2)).filter(|_| is_punct(sequence.get(index + 1), '!')) else {
        return false;
    };
    texts(group.stream()).iter().any(|path| leaves(path) && (name == "include" || path.ends_with(".rs")))
}

/// Whether a path leads out of its folder. After `concat!(env!(…), …)` a path begins with `/` and need not.
fn leaves(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// Every string in the tokens.
fn texts(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    each_sequence(&tokens, &mut |sequence| found.extend(sequence.iter().filter_map(text)));
    found
}

/// The text of a string literal.
fn text(tree: &TokenTree) -> Option<String> {
    syn::parse2::<LitStr>(tree.clone().into()).ok().map(|literal| literal.value())
}

fn group(tree: Option<&TokenTree>) -> Option<&Group> {
    match tree? {
        TokenTree::Group(group) => Some(group),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::check;

    #[test]
    fn finds_sources_of_other_folders() {
        let text = r##"
#[path = "../other.rs"]
mod one;
#[cfg_attr(loom, path = "../../core/src/two.rs")]
mod two;
include!("../three.in");
const FOUR: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/src/lib.rs"));
macro_rules! five { () => { #[path = r"../five.rs"] mod five; } }
"##;
        assert_eq!(found(check, "core/src/lib.rs", text), [2, 4, 6, 7, 8]);
        assert_eq!(found(check, "tests/compile-fail/tests/ui/no_policy.rs", text), [0; 0]);
    }

    #[test]
    fn leaves_own_sources_and_data_alone() {
        let text = r##"
#[path = "x86_64.rs"]
mod arch;
#[doc = "../one.rs"]
const DATA: &str = include_str!("../../tests/workloads/boot.toml");
include!(concat!(env!("OUT_DIR"), "/made.rs"));
fn f() { let path = "../two.rs"; }
"##;
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }
}
