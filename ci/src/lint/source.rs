//! One Rust file, parsed.

use proc_macro2::TokenStream;

use super::Finding;

/// A Rust file as text, as tokens and as syntax.
///
/// Rules that must also see the bodies of macros walk the tokens; rules about expressions and items use the syntax;
/// comments are only in the lines.
pub struct Source {
    /// The file's path, relative to the root of the repository.
    pub path: String,
    /// The file's text.
    pub text: String,
    /// All of the file's tokens, macro bodies included.
    pub tokens: TokenStream,
    /// The file's syntax.
    pub syntax: syn::File,
}

impl Source {
    /// Parses a file's text.
    ///
    /// # Errors
    ///
    /// A finding, when the text is not Rust.
    pub fn parse(path: &str, text: &str) -> Result<Self, Finding> {
        let refuse = |error: syn::Error| {
            let line = error.span().start().line;
            Finding::new(path, line, "syntax", format!("not Rust: {error}; mend it"))
        };
        // A byte-order mark or `#!` line is not ours; a text that starts with one fails here.
        let tokens = text.parse::<TokenStream>().map_err(|error| refuse(error.into()))?;
        let syntax = syn::parse2(tokens.clone()).map_err(refuse)?;
        Ok(Self { path: path.into(), text: text.into(), tokens, syntax })
    }

    /// The lines of the text, from index 0.
    pub fn lines(&self) -> Vec<&str> {
        self.text.lines().collect()
    }

    /// Notes a fault in this file.
    pub fn finding(&self, line: usize, rule: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(&self.path, line, rule, text)
    }
}
