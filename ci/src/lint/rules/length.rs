//! No file is longer than a reader can keep in mind.

use crate::lint::{Finding, Source};

/// The most lines that a file may have.
const MOST_LINES: usize = 450;

/// Finds a Rust file that is too long.
pub fn check(source: &Source) -> Vec<Finding> {
    check_text(&source.path, &source.text)
}

/// Finds a source text of any kind that is too long.
pub fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    if lines <= MOST_LINES {
        return Vec::new();
    }
    let text = format!("{lines} lines, {MOST_LINES} are allowed: split it by subject");
    vec![Finding::new(path, lines, "length", text)]
}

#[cfg(test)]
mod tests {
    use super::check_text;

    #[test]
    fn the_limit_is_inclusive() {
        assert!(check_text("a.rs", &"// line\n".repeat(450)).is_empty());
        assert_eq!(check_text("a.rs", &"// line\n".repeat(451)).len(), 1);
    }
}
