//! `cargo xtask deps`: the arrows of ARCHITECTURE.md, checked from `cargo metadata`.
//!
//! [`rules`] is the table, [`graph`] reads the packages, [`mod@check`] compares the two. Normal, build and dev
//! dependencies are held against the same table: a dev-dependency that points the wrong way would let a test
//! decide what the kernel's crates know.

mod check;
mod graph;
pub mod rules;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;

use crate::exit::Code;
use crate::lint::Finding;
use crate::project::Project;

/// What a check of the arrows found.
#[derive(Debug)]
pub struct Checked {
    /// How many packages were looked at.
    pub packages: usize,
    /// How many dependencies of ours they have.
    pub arrows: usize,
    /// What is wrong; empty for a pass.
    pub findings: Vec<Finding>,
}

/// Checks the arrows of the repository at `root`.
///
/// # Errors
///
/// When cargo cannot read a manifest.
pub fn check(root: &Path) -> Result<Checked> {
    let packages = graph::read(root)?;
    let arrows = packages.iter().map(|package| package.dependencies.len()).sum();
    Ok(Checked { packages: packages.len(), arrows, findings: check::check(&packages) })
}

/// Checks the arrows and prints what was found.
///
/// # Errors
///
/// When cargo cannot read a manifest.
pub fn run(project: &Project) -> Result<Code> {
    let checked = check(project.root())?;
    for finding in &checked.findings {
        println!("{finding}");
    }
    let clean = checked.findings.is_empty();
    let verdict = if clean { "as ARCHITECTURE.md draws them" } else { "with the faults above" };
    println!("deps: {} packages, {} arrows, {verdict}", checked.packages, checked.arrows);
    Ok(if clean { Code::OK } else { Code::FAILED })
}
