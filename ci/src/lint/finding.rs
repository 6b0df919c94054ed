//! What a check found, and where.

use std::fmt;

/// One fault in the repository's own files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the root of the repository.
    pub path: String,
    /// The line, from 1; 0 means the file as a whole.
    pub line: usize,
    /// The rule's short name.
    pub rule: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Finding {
    /// Notes a fault.
    pub fn new(path: impl Into<String>, line: usize, rule: &'static str, text: impl Into<String>) -> Self {
        Self { path: path.into(), line, rule, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}: {}", self.path, self.rule, self.text),
            line => write!(out, "{}:{line}: {}: {}", self.path, self.rule, self.text),
        }
    }
}
