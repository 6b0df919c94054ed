//! `cargo xtask test --mutants`: code that is broken on purpose, to see that a test notices.
//!
//! ```text
//!   tests/mutants/NAME.patch ──► a copy of the repository ──► the test that it names ──► must fail
//!                                the same copy, unpatched ──► the same test ───────────► must pass
//! ```
//!
//! A test that has never failed proves little. Each patch breaks one invariant, and says in its head which test stands
//! guard over it, and what that test says. Everything else is a failure of the mutant: a patch that no longer applies,
//! code that does not build, a test that is not there or that fails for another reason. The copy lies in `target/mutants`; it is made once and brought up to date, so that builds
//! are incremental, and the repository's own files are never touched.

mod patch;
mod red;
mod scratch;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};

use super::case::{Case, Group, Outcome};
use super::{guest, host};
use crate::arch::Arch;
use crate::cli::SetupArgs;
use crate::policy::Policy;
use crate::project::Project;
use crate::{exit, lint, setup};

use patch::{Expected, Mutant};
use red::{Known, Red};
use scratch::Scratch;
use trial::{Came, Trial};

/// The folder of the patches.
const FOLDER: &str = "tests/mutants";

/// How long a mutant may take, as it is shown: its builds, and its tests with their own time-outs.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// One case for each patch. The tests of those whose case `is_wanted` are first run on the unpatched copy, all before
/// any patch is applied.
///
/// # Errors
///
/// When a patch is not what it must be (121), or what its tests need is missing (122).
pub fn cases(project: &Project, setup: &SetupArgs, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<Case>> {
    let mutants = read(project)?;
    let policies = Policy::all(project)?;
    let known =
        Known { packages: host::packages(project)?, cases: guest::described(project, &policies, None)?, policies };
    for mutant in &mutants {
        let checked = |red: &Expected| known.check(&red.red).map_err(|what| mutant.wrong(red.line, &what));
        mutant.reds.iter().try_for_each(checked)?;
    }
    let name = |mutant: &Mutant| format!("mutants::{}", mutant.name);
    let wanted = mutants.iter().filter(|mutant| is_wanted(&name(mutant)));
    let reds: BTreeSet<_> = wanted.flat_map(|mutant| mutant.reds.iter().map(|red| red.red.clone())).collect();
    let mut compilers = Vec::new();
    if reds.iter().any(Red::needs_images) {
        for arch in Arch::EXISTING {
            setup::qemu(project, *arch, setup.toolchain, setup.yes)?;
        }
        compilers = lint::compilers(project, Arch::EXISTING, setup)?;
    }
    let trial = Trial { known, compilers, setup: setup.clone() };
    let bench =
        Arc::new(Bench { project: project.clone(), trial, reds: reds.into_iter().collect(), state: Mutex::default() });
    let case = |mutant: Mutant| {
        let bench = Arc::clone(&bench);
        let name = name(&mutant);
        let run =
            move || Ok(vec![bench.judge(&mutant)?.map_or_else(|| Outcome::passed(""), |why| Outcome::failed("", why))]);
        Case::new(name, Group::Mutants, TIMEOUT, run)
    };
    Ok(mutants.into_iter().map(case).collect())
}

/// Reads every patch, in the order of their names.
fn read(project: &Project) -> Result<Vec<Mutant>> {
    let folder = project.root().join(FOLDER);
    let mut mutants = Vec::new();
    for path in
        lint::tree::files(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "patch"))
    {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        mutants.push(Mutant::parse(&lint::tree::relative(project.root(), &path), &text)?);
    }
    if mutants.is_empty() {
        return Err(exit::usage(format!("{FOLDER} holds no patch; its README.md says what one looks like")));
    }
    Ok(mutants)
}

/// Where mutants are tried, one at a time.
struct Bench {
    project: Project,
    trial: Trial,
    /// Every test that is asked for, once.
    reds: Vec<Red>,
    state: Mutex<State>,
}

/// What there is once the first mutant is tried.
#[derive(Default)]
struct State {
    copy: Option<Scratch>,
    /// What the tests came to on the unpatched copy.
    unpatched: BTreeMap<Red, Came>,
}

impl Bench {
    /// Tries one mutant; says what is wrong with it, if something is.
    fn judge(&self, mutant: &Mutant) -> Result<Option<String>> {
        let state = self.ready()?;
        for Expected { red, .. } in &mutant.reds {
            let came = state.unpatched.get(red).context("a test that was not asked for")?;
            if let Some(why) = came.why_not_green() {
                return Ok(Some(format!("`{red}` must pass on the code as it is, but {why}")));
            }
        }
        let copy = state.copy.as_ref().context("the copy was made")?;
        let patched = match copy.patch(mutant)? {
            Ok(patched) => patched,
            Err(why) => return Ok(Some(format!("{} no longer applies: {why}", mutant.file))),
        };
        let fresh = self.trial.on(copy.project());
        for Expected { red, says, .. } in &mutant.reds {
            if let Some(why) = fresh.run(red)?.why_not_red(mutant.by_timeout, says.as_deref()) {
                return Ok(Some(format!("`{red}` must fail, but {why}")));
            }
        }
        drop(patched);
        Ok(None)
    }

    /// Makes the copy, and runs every test on it, if that has not been done.
    fn ready(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().expect("no case panicked");
        if state.copy.is_none() {
            let copy = Scratch::of(&self.project)?;
            let fresh = self.trial.on(copy.project());
            for red in &self.reds {
                let came = fresh.run(red)?;
                state.unpatched.insert(red.clone(), came);
            }
            state.copy = Some(copy);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::read;
    use crate::project::Project;

    /// Whoever changes a line that a mutant breaks hears of it here, long before the mutants are tried.
    #[test]
    fn every_patch_applies_to_the_code_as_it_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for mutant in read(&Project::at(root)).unwrap() {
            let mut texts = BTreeMap::new();
            for edit in &mutant.edits {
                let text = texts.entry(&edit.file).or_insert_with(|| std::fs::read_to_string(root.join(&edit.file)));
                let patched = edit.apply(text.as_ref().unwrap());
                *text =
                    Ok(patched.unwrap_or_else(|why| panic!("{} no longer applies: {}: {why}", mutant.file, edit.file)));
            }
        }
    }
}
