//! `cfg(target_arch)` and `cfg(feature)` stand only where a choice is made: in the composition root, and for the
//! architecture in the crates that choose one file per architecture. `cfg(loom)` chooses the atomics, in one module.

use proc_macro2::{TokenStream, TokenTree};

use super::tokens::{each_sequence, ident, is_punct, line, mentions};
use crate::lint::{Finding, Source};

/// Where a feature may be asked for.
const FEATURE: &[&str] = &["platforms/unikernel/"];
/// Where the architecture may be asked for.
const TARGET_ARCH: &[&str] = &["platforms/unikernel/", "platforms/hermit/", "platforms/loader/"];
/// Where loom may be asked for.
const LOOM: &[&str] = &["core/src/sync/atomic.rs"];

/// Finds conditions that choose by architecture or feature where that does not belong.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    each_sequence(&source.tokens, &mut |sequence| {
        for (index, tree) in sequence.iter().enumerate() {
            let Some(condition) = condition(sequence, index) else {
                continue;
            };
            for name in forbidden_in(&source.path) {
                if mentions(&condition, &[name]).is_some() {
                    findings.push(source.finding(line(tree), "cfg", advice(name)));
                }
            }
        }
    });
    findings
}

/// The names that a condition in this file must not use.
fn forbidden_in(path: &str) -> Vec<&'static str> {
    [("feature", FEATURE), ("target_arch", TARGET_ARCH), ("loom", LOOM)]
        .into_iter()
        .filter(|(_, places)| !places.iter().any(|place| path.starts_with(place)))
        .map(|(name, _)| name)
        .collect()
}

/// The condition that starts at `index`: `cfg(…)`, `cfg_attr(…, …)`, `cfg!(…)`, or the arms of `cfg_select!`.
fn condition(sequence: &[TokenTree], index: usize) -> Option<TokenStream> {
    let name = ident(sequence.get(index))?;
    let macro_call = is_punct(sequence.get(index + 1), '!');
    let group = match sequence.get(index + if macro_call { 2 } else { 1 })? {
        TokenTree::Group(group) => group.stream(),
        _ => return None,
    };
    match (name.as_str(), macro_call) {
        ("cfg", _) => Some(group),
        ("cfg_attr", false) => Some(group.into_iter().take_while(|tree| !is_punct(Some(tree), ',')).collect()),
        ("cfg_select", true) => Some(arm_conditions(group)),
        _ => None,
    }
}

/// Of `condition => { … } …`, the conditions.
fn arm_conditions(arms: TokenStream) -> TokenStream {
    arms.into_iter().filter(|tree| super::tokens::braces(Some(tree)).is_none()).collect()
}

/// What to do instead.
fn advice(name: &str) -> String {
    let (places, instead) = match name {
        "feature" => (FEATURE, "a type or constant of `System`"),
        "loom" => (LOOM, "the atomics of that module, which are loom's where loom is asked for"),
        _ => (TARGET_ARCH, "the `Arch` trait"),
    };
    format!("asks for `{name}`, which belongs to {}: use {instead}", places.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::check;

    #[test]
    fn finds_every_form() {
        let text = r#"
#[cfg(target_arch = "x86_64")]
mod one;
#[cfg_attr(feature = "audit", inline)]
fn two() -> bool { cfg!(not(feature = "audit")) }
core::cfg_select! { all(unix, target_arch = "aarch64") => { mod three; } _ => {} }
macro_rules! four { () => { #[cfg(any(feature = "x"))] fn four() {} } }
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [2, 4, 5, 6, 7]);
    }

    #[test]
    fn leaves_other_conditions_alone() {
        let text = r#"
#[cfg(test)]
mod tests {}
#[cfg_attr(unix, path = "target_arch.rs")]
mod sync;
#[cfg_attr(test, cfg_hint(feature))]
fn feature(target_arch: &str) -> &str { "cfg(feature)" }
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }

    #[test]
    fn loom_stands_in_one_module() {
        let text =
            "#[cfg(loom)]\nuse loom::sync::atomic::AtomicU32;\n#[cfg(all(test, loom))]\nmod models;\nfn loom() {}";
        assert_eq!(found(check, "core/src/sync/atomic.rs", text), [0; 0]);
        for path in ["core/src/sync/mod.rs", "core/src/thread/state.rs", "platforms/pc/src/lib.rs"] {
            assert_eq!(found(check, path, text), [1, 3], "{path}");
        }
    }

    #[test]
    fn knows_the_places() {
        let arch = "#[cfg(target_arch = \"x86_64\")]\nmod one;";
        let feature = "#[cfg(feature = \"audit\")]\nmod one;";
        for (path, arch_found, feature_found) in [
            ("platforms/unikernel/src/lib.rs", 0, 0),
            ("platforms/hermit/src/lib.rs", 0, 1),
            ("platforms/loader/pack/src/main.rs", 0, 1),
            ("platforms/pc/src/lib.rs", 1, 1),
            ("policies/static/src/lib.rs", 1, 1),
        ] {
            assert_eq!(found(check, path, arch).len(), arch_found, "{path}");
            assert_eq!(found(check, path, feature).len(), feature_found, "{path}");
        }
    }
}
