//! The documentation's code blocks, each of which is run or checked by a test.
//!
//! The word behind the language says what is done with a block; a block without a known word is an error, so that
//! nothing in README.md or docs/ is untested by accident.
//!
//! ```text
//! text            nothing: a picture, or what something prints elsewhere
//! text output     each line must appear, in this order, in what the `sh` block before it printed; `…` is anything
//! sh run          each line is run at the repository's root and must end with 0; `sh run exit=N`: with N
//! sh app          the same, with the file's app (below) in place of every path that ends in its package's name
//! sh check        each line is a `cargo xtask` command that is not run, but whose verb and flags must be known
//! sh host         what a user types on a host of another kind: its syntax is checked by `sh -n`
//! toml app        the Cargo.toml of the file's app; its `ebbtide` is replaced by this repository's
//! rust app        the src/main.rs of the file's app
//! toml, json      must parse
//! ```
//!
//! A file has at most one app. It is written to a folder outside the repository, together with the repository's
//! Cargo.lock, so that it is built from the same versions and needs no network.

mod app;
mod block;
mod carry_out;
mod output;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lint::tree;
use crate::project::Project;

pub use block::Block;
pub use carry_out::carry_out;

/// A page of the documentation.
#[derive(Debug)]
pub struct Page {
    /// Its name: the file's, without folder and end.
    pub name: String,
    /// Its code blocks, in order.
    pub blocks: Vec<Block>,
}

/// Reads README.md and every page below docs/.
///
/// # Errors
///
/// When a file cannot be read.
pub fn pages(project: &Project) -> Result<Vec<Page>> {
    let root = project.root();
    let is_page = |path: &PathBuf| {
        let relative = tree::relative(root, path);
        relative == "README.md" || (relative.starts_with("docs/") && relative.ends_with(".md"))
    };
    let page = |path: PathBuf| {
        let relative = tree::relative(root, &path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {relative}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Page { name, blocks: block::blocks(&relative, &text) })
    };
    tree::files(root)?.into_iter().filter(is_page).map(page).collect()
}
