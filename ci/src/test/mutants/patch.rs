//! A mutant's file: a head of `Key: value` lines, then a unified diff. `tests/mutants/README.md` describes it.

use anyhow::{Error, Result};
use diffy::Patch;
use diffy::patch_set::{FileOperation, ParseOptions, PatchSet};

use super::red::Red;
use crate::exit;

/// The keys of a head, for messages.
const KEYS: &str = "Breaks, Why, Red, Says, Red-by";

/// A mutant.
#[derive(Debug)]
pub struct Mutant {
    /// Its name: the file's, without its end.
    pub name: String,
    /// The file, relative to the repository.
    pub file: String,
    /// The tests that must fail.
    pub reds: Vec<Expected>,
    /// Whether a time-out is a failure that is meant.
    pub by_timeout: bool,
    /// What is done to files.
    pub edits: Vec<Edit>,
}

/// A test that must fail.
#[derive(Debug)]
pub struct Expected {
    /// Where the file says so.
    pub line: usize,
    /// The test.
    pub red: Red,
    /// What its output must hold, so that it fails for the right reason.
    pub says: Option<String>,
}

/// What is done to one file.
#[derive(Debug)]
pub struct Edit {
    /// The file, relative to the repository.
    pub file: String,
    /// The diff of this file alone.
    diff: String,
}

impl Edit {
    /// The file's text with the edit; each line that the diff shows must be there as it shows it.
    ///
    /// # Errors
    ///
    /// When the edit does not fit.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        let patch = Patch::from_str(&self.diff).map_err(|error| error.to_string())?;
        diffy::apply(text, &patch).map_err(|error| error.to_string())
    }
}

/// A line of the head.
struct Entry<'a> {
    line: usize,
    key: &'a str,
    value: String,
}

impl Mutant {
    /// Reads a mutant.
    ///
    /// # Errors
    ///
    /// When the text is wrong (121): with file, line, and what is allowed.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let head_lines = text.lines().take_while(|line| !line.starts_with("--- ") && !line.starts_with("diff --git "));
        let wrong = |line: usize, what: &str| wrong(file, line, what);
        let (mut reds, mut by_timeout) = (Vec::<Expected>::new(), false);
        let entries = entries(head_lines.clone()).map_err(|(line, what)| wrong(line, &what))?;
        for entry in &entries {
            let Entry { line, key, value } = entry;
            let first = entries.iter().find(|other| other.key == *key).map_or(*line, |other| other.line);
            if value.is_empty() {
                return Err(wrong(*line, &format!("`{key}` says nothing")));
            }
            if !matches!(*key, "Red" | "Says") && first != *line {
                return Err(wrong(*line, &format!("`{key}` stands there already, in line {first}")));
            }
            match (*key, value.as_str()) {
                ("Breaks" | "Why", _) => {}
                ("Red", value) => {
                    let red = value.parse().map_err(|what: String| wrong(*line, &what))?;
                    reds.push(Expected { line: *line, red, says: None });
                }
                ("Says", value) => match reds.last_mut() {
                    Some(Expected { says: says @ None, .. }) => *says = Some(value.to_owned()),
                    _ => return Err(wrong(*line, "`Says` stands once below each `Red`")),
                },
                ("Red-by", "timeout") => by_timeout = true,
                ("Red-by", other) => return Err(wrong(*line, &format!("`Red-by: {other}`: known: timeout"))),
                _ => return Err(wrong(*line, &format!("unknown key `{key}`; known: {KEYS}"))),
            }
        }
        let behind = head_lines.count() + 1;
        for key in ["Breaks", "Why", "Red"] {
            if entries.iter().all(|entry| entry.key != key) {
                return Err(wrong(behind, &format!("no `{key}:` stands above the diff")));
            }
        }
        // A guest's code says why it ended.
        let silent = |expected: &&Expected| expected.says.is_none() && !expected.red.has_code();
        if let Some(expected) = reds.iter().find(silent).filter(|_| !by_timeout) {
            return Err(wrong(
                expected.line,
                "no `Says:` follows: what does the test say when it fails for this reason?",
            ));
        }
        let edits = edits(text).map_err(|what| wrong(behind, &what))?;
        let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".patch").to_owned();
        Ok(Self { name, file: file.to_owned(), reds, by_timeout, edits })
    }

    /// An error about a line of the file (121).
    pub fn wrong(&self, line: usize, what: &str) -> Error {
        wrong(&self.file, line, what)
    }
}

fn wrong(file: &str, line: usize, what: &str) -> Error {
    exit::usage(format!("{file}:{line}: {what}"))
}

/// The entries of a head; a line that begins with a blank continues the one above.
fn entries<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Entry<'a>>, (usize, String)> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for (line, text) in (1..).zip(lines) {
        match (text.strip_prefix(' '), text.split_once(':'), entries.last_mut()) {
            _ if text.trim().is_empty() => {}
            (Some(more), _, Some(last)) => last.value = format!("{} {}", last.value, more.trim()),
            (None, Some((key, value)), _) => entries.push(Entry { line, key, value: value.trim().to_owned() }),
            _ => {
                return Err((
                    line,
                    format!("expected `Key: value` ({KEYS}), or more of the line above behind a blank"),
                ));
            }
        }
    }
    Ok(entries)
}

/// The diff, file by file.
fn edits(text: &str) -> Result<Vec<Edit>, String> {
    let from = text.find("\n--- ").map(|at| at + 1).ok_or("no diff follows: no line begins with `--- `")?;
    let mut edits = Vec::new();
    for parsed in PatchSet::parse(&text[from..], ParseOptions::unidiff()) {
        let parsed = parsed.map_err(|error| format!("no unified diff: {error}"))?;
        let file = match parsed.operation().strip_prefix(1) {
            FileOperation::Modify { original, modified } if original == modified => original.into_owned(),
            _ => return Err("the diff makes, removes or renames a file; a mutant changes lines".to_owned()),
        };
        let edit = parsed.patch().as_text().ok_or("a binary diff")?;
        edits.push(Edit { file, diff: edit.to_string() });
    }
    if edits.is_empty() {
        return Err("no diff follows".to_owned());
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::Mutant;
    use crate::exit::{Code, code_of};

    const GOOD: &str = "Breaks: invariant 5\nWhy: a frame that is still cached would be freed,\n  and used for something \
                        else\nRed: loom models::one\nSays: two != 1\nRed: host ebbtide-core stack::two\nSays: lost\n\ndiff --git a/core/a.rs \
                        b/core/a.rs\nindex 1..2 100644\n--- a/core/a.rs\n+++ b/core/a.rs\n@@ -1,2 +1,2 @@\n-one\n+1\n \
                        two\n--- a/core/b.rs\n+++ b/core/b.rs\n@@ -1 +1 @@\n-x\n+y\n";

    #[test]
    fn a_mutant_says_what_and_who() {
        let mutant = Mutant::parse("tests/mutants/frame-freed.patch", GOOD).unwrap();
        assert_eq!((mutant.name.as_str(), mutant.by_timeout), ("frame-freed", false));
        let reds: Vec<_> = mutant.reds.iter().map(|red| (red.line, red.red.to_string(), red.says.as_deref())).collect();
        let (loom, host) = ("loom models::one".to_owned(), "host ebbtide-core stack::two".to_owned());
        assert_eq!(reds, [(4, loom, Some("two != 1")), (6, host, Some("lost"))]);
        let edits: Vec<_> = mutant.edits.iter().map(|edit| edit.file.as_str()).collect();
        assert_eq!(edits, ["core/a.rs", "core/b.rs"]);
        assert_eq!(mutant.edits[0].apply("zero\none\ntwo\n").as_deref(), Ok("zero\n1\ntwo\n"));
        assert!(mutant.edits[0].apply("eins\ntwo\n").is_err());
        let patient = GOOD.replace("\nSays: lost\n\ndiff", "\nRed-by: timeout\ndiff");
        assert!(Mutant::parse("m.patch", &patient).unwrap().by_timeout);
        let coded = GOOD.replace("Red: loom models::one\nSays: two != 1", "Red: guest a policy=b code=107");
        assert_eq!(Mutant::parse("m.patch", &coded).unwrap().reds[0].says, None);
    }

    #[test]
    fn wrong_files_are_refused_with_line_and_key() {
        for (good, bad, said) in [
            ("Breaks: invariant 5\n", "", "m.patch:8: no `Breaks:`"),
            ("Breaks: invariant 5\n", "Breaks:\n", "m.patch:1: `Breaks` says nothing"),
            ("Breaks: ", "Break: ", "m.patch:1: unknown key `Break`; known: Breaks, Why, Red, Says, Red-by"),
            ("Breaks: invariant 5", "  Breaks", "m.patch:1: expected `Key: value`"),
            ("Red: loom models::one\n", "Why: more\n", "m.patch:4: `Why` stands there already, in line 2"),
            ("Red: loom models::one\n", "Red-by: luck\n", "m.patch:4: `Red-by: luck`: known: timeout"),
            ("Red: loom models::one\n", "Red: moon one\n", "m.patch:4: `Red: moon one`"),
            ("Red: loom models::one\n", "", "m.patch:4: `Says` stands once below each `Red`"),
            ("Says: two != 1\n", "Says: a\nSays: b\n", "m.patch:6: `Says` stands once below each `Red`"),
            ("Says: two != 1\n", "", "m.patch:4: no `Says:` follows"),
            ("-one\n", "-one\n-uno\n", "m.patch:9: no unified diff"),
            ("+++ b/core/a.rs", "+++ b/core/c.rs", "m.patch:9: the diff makes, removes or renames"),
        ] {
            let error = Mutant::parse("m.patch", &GOOD.replacen(good, bad, 1)).expect_err(bad);
            assert_eq!(code_of(&error), Code::USAGE);
            assert!(error.to_string().starts_with(said), "{bad:?}: {error}");
        }
        let bare = GOOD.split("diff --git").next().unwrap_or_default();
        assert!(Mutant::parse("m.patch", bare).unwrap_err().to_string().contains("no diff follows"));
    }
}
