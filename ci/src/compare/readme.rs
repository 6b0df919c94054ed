//! The output that README.md shows: it comes from a real run, and must still be true.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::baseline::MOST_GROWTH_PERCENT;
use crate::files;
use crate::project::Project;

/// What stands before the output, and what ends it.
const HEAD: &str = "```sh check\ncargo xtask compare\n```\n\n```text\n";
const END: &str = "```\n";

/// Puts the tables of a whole comparison into README.md.
///
/// # Errors
///
/// When the file cannot be read or written, or has no place for them.
pub fn renew(project: &Project, tables: &str) -> Result<PathBuf> {
    let (path, text) = read(project)?;
    let (before, _, after) = split(&text)?;
    files::write(&path, format!("{before}{}\n{after}", tables.trim_end()))?;
    Ok(path)
}

/// What README.md shows otherwise than the tables of a whole comparison; `None` when it is right. Numbers may be off by as
/// much as counts may grow unnoticed.
///
/// # Errors
///
/// When the file cannot be read, or shows none.
pub fn stale(project: &Project, tables: &str) -> Result<Option<String>> {
    let (_, text) = read(project)?;
    let (_, shown, _) = split(&text)?;
    let said =
        difference(shown, tables).map(|what| format!("README.md: {what}; `cargo xtask compare --bless` renews it"));
    Ok(said)
}

fn read(project: &Project) -> Result<(PathBuf, String)> {
    let path = project.root().join("README.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok((path, text))
}

/// What stands before the output, the output, and what follows.
fn split(text: &str) -> Result<(&str, &str, &str)> {
    let begin =
        text.find(HEAD).map(|at| at + HEAD.len()).context("README.md has no output of `cargo xtask compare`")?;
    let length = text[begin..].find(END).context("README.md: the output of `cargo xtask compare` has no end")?;
    let (before, rest) = text.split_at(begin);
    let (shown, after) = rest.split_at(length);
    Ok((before, shown, after))
}

/// The first line that differs: in a word, or in a number by more than counts may grow unnoticed. Lines are drawn as
/// wide as the figures are, so only their words count.
fn difference(shown: &str, now: &str) -> Option<String> {
    let lines = |text: &str| text.lines().map(words).filter(|words| !words.is_empty()).collect::<Vec<_>>();
    let (shown, now) = (lines(shown), lines(now));
    if shown.len() != now.len() {
        return Some(format!("it shows {} lines, there are {}", shown.len(), now.len()));
    }
    let same = |(a, b): &(&Vec<String>, &Vec<String>)| {
        a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a == b || is_near(a, b))
    };
    let (shown, now) = shown.iter().zip(&now).find(|pair| !same(pair))?;
    Some(format!("it shows `{}`, there is `{}`", shown.join(" "), now.join(" ")))
}

/// The words of a line, but not the lines of the table.
fn words(line: &str) -> Vec<String> {
    let drawn = |word: &&str| word.chars().any(|c| !matches!(c, '─' | '═'));
    line.split_whitespace().filter(drawn).map(str::to_owned).collect()
}

fn is_near(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    (a - b).abs() <= a.min(b) * MOST_GROWTH_PERCENT / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "x86_64\n\n───\npolicy  yield\n═══\nstatic  82.51\n───\n\n";

    fn project(readme: &str) -> (tempfile::TempDir, Project) {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("README.md"), readme).expect("it is written");
        let project = Project::at(root.path());
        (root, project)
    }

    #[test]
    fn what_is_renewed_is_right_and_the_rest_stays() {
        let (root, project) = project(&format!("# E\n{HEAD}old\n{END}\nHow to read it.\n```text\nother\n{END}"));
        assert!(stale(&project, TABLES).expect("it is read").expect("old").contains("--bless"));
        renew(&project, TABLES).expect("it is written");
        assert_eq!(stale(&project, TABLES).expect("it is read"), None);
        let text = std::fs::read_to_string(root.path().join("README.md")).expect("it is there");
        let want = format!("# E\n{HEAD}{}\n{END}\nHow to read it.\n```text\nother\n{END}", TABLES.trim_end());
        assert_eq!(text, want);
    }

    #[test]
    fn small_changes_are_let_pass_and_others_named() {
        for same in [TABLES.to_owned(), TABLES.replace("82.51", "83.51"), TABLES.replace("───", "─────")]
        {
            assert_eq!(difference(TABLES, &same), None, "{same}");
        }
        for (other, part) in [
            (TABLES.replace("82.51", "86.00"), "it shows `static 82.51`, there is `static 86.00`"),
            (TABLES.replace("82.51", "80.00"), "there is `static 80.00`"),
            (TABLES.replace("82.51", "–"), "there is `static –`"),
            (TABLES.replace("static", "other"), "there is `other 82.51`"),
            (format!("{TABLES}more\n"), "lines"),
        ] {
            let said = difference(TABLES, &other).expect("they differ");
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(difference("tlb 0.00", "tlb 0.00"), None);
        assert!(difference("tlb 0.00", "tlb 0.01").is_some(), "what was nothing is something");
    }

    #[test]
    fn a_readme_without_a_place_for_it_is_an_error() {
        let (_root, project) = project("# E\n");
        assert!(stale(&project, TABLES).is_err() && renew(&project, TABLES).is_err());
    }
}
