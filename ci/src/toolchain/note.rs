//! The note of the toolchain that was chosen: `target/ebbtide/toolchain`.
//!
//! One line, also for people: the source of `core`, the folder of the programs, the compiler's version.

use std::path::Path;

use super::{Compiler, Source, Toolchain};
use crate::files;
use crate::project::Project;

/// Reads what was chosen; nothing when there is no note, or its programs are gone.
pub fn read(project: &Project) -> Option<Toolchain> {
    parse(&std::fs::read_to_string(project.toolchain_note()).ok()?)
}

/// Notes what was chosen.
///
/// # Errors
///
/// When the note cannot be written.
pub fn write(project: &Project, toolchain: &Toolchain) -> anyhow::Result<()> {
    files::write(&project.toolchain_note(), text(toolchain))
}

fn text(toolchain: &Toolchain) -> String {
    format!("{}\t{}\t{}\n", toolchain.source.word(), toolchain.compiler.folder().display(), toolchain.rustc_version())
}

fn parse(text: &str) -> Option<Toolchain> {
    let mut fields = text.lines().next()?.split('\t');
    let word = fields.next()?;
    let folder = fields.next()?;
    Some(Toolchain {
        source: *Source::ALL.iter().find(|source| source.word() == word)?,
        compiler: Compiler::in_folder(Path::new(folder))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let chosen = Toolchain { source: Source::Target, compiler: Compiler::active().expect("cargo runs this test") };
        assert_eq!(parse(&text(&chosen)), Some(chosen));
    }

    #[test]
    fn other_notes_are_none() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("debian"), None);
        assert_eq!(parse("target\t/nowhere\trustc 1.95.0"), None);
    }
}
