//! Figures of other kernels, which stand beside ours as references: `tests/baselines/peers.toml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::project::Project;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    peer: Vec<Peer>,
}

/// What another kernel takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name in the table.
    pub name: String,
    /// Where the figures come from.
    pub source: String,
    /// The figures, by the keys of the records.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
    /// What no column fits.
    pub also: Option<String>,
}

/// Reads the file.
///
/// # Errors
///
/// When it cannot be read or is wrong.
pub fn read(project: &Project) -> Result<Vec<Peer>> {
    let path = project.root().join("tests/baselines/peers.toml");
    let what = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(what)?;
    parse(&text).with_context(what)
}

fn parse(text: &str) -> Result<Vec<Peer>> {
    Ok(toml::from_str::<File>(text)?.peer)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Peer, parse};
    use crate::compare::kind::Kind;

    /// The peers as they are shipped.
    pub fn shipped() -> Vec<Peer> {
        parse(include_str!("../../../tests/baselines/peers.toml")).expect("a list of peers")
    }

    #[test]
    fn every_figure_has_a_source_and_a_key_that_records_have() {
        let mut known = vec!["yield_insns", "spawn_join_insns", "thread_bytes", "image_bytes", "boot_insns"];
        known.extend(Kind::Depth.keys());
        for peer in shipped() {
            let says = !peer.figures.is_empty() || peer.also.is_some();
            assert!(!peer.source.is_empty() && says, "{peer:?}");
            assert!(peer.figures.keys().all(|key| known.contains(&key.as_str())), "{peer:?}");
        }
    }

    #[test]
    fn wrong_keys_are_refused() {
        assert!(parse("[[peer]]\nname = \"x\"\nsource = \"y\"\nfigure = {}\n").is_err());
    }
}
