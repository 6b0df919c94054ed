//! Every `unsafe` block and every `unsafe impl` is argued in a `// SAFETY:` comment.
//!
//! Walks the tokens, so that the bodies of macros are seen too. The comment stands just above the block, above the
//! statement that the block is part of, or first inside the block.

use proc_macro2::{Delimiter, Group, TokenTree};

use super::tokens::{braces, ident, is_punct, line};
use crate::lint::{Finding, Source};

/// Finds `unsafe` blocks and impls without a reason.
pub fn check(source: &Source) -> Vec<Finding> {
    let lines = source.lines();
    let mut walk = Walk { source, lines: &lines, findings: Vec::new() };
    let sequence: Vec<_> = source.tokens.clone().into_iter().collect();
    walk.sequence(&sequence, &[]);
    walk.findings
}

/// One walk over a file.
struct Walk<'a> {
    source: &'a Source,
    lines: &'a [&'a str],
    findings: Vec<Finding>,
}

impl Walk<'_> {
    /// Walks over sibling tokens. `outer` holds the first lines of the statements around them.
    fn sequence(&mut self, sequence: &[TokenTree], outer: &[usize]) {
        let mut start = None;
        for (index, tree) in sequence.iter().enumerate() {
            let begin = *start.get_or_insert(line(tree));
            if ident(Some(tree)).as_deref() == Some("unsafe") {
                self.keyword(sequence, index, &[outer, &[begin]].concat());
            }
            if let TokenTree::Group(group) = tree {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let block = group.delimiter() == Delimiter::Brace;
                let around = if block { Vec::new() } else { [outer, &[begin]].concat() };
                self.sequence(&inner, &around);
            }
            if ends_statement(sequence, index) {
                start = None;
            }
        }
    }

    /// Checks what follows the word `unsafe` at `index`.
    fn keyword(&mut self, sequence: &[TokenTree], index: usize, starts: &[usize]) {
        let own = line(&sequence[index]);
        let next = sequence.get(index + 1);
        let argued = |line: &usize| self.comment_above(*line);
        if let Some(group) = braces(next) {
            if !(argued(&own) || starts.iter().any(argued) || self.comment_inside(group)) {
                let text = "this `unsafe` block has no `// SAFETY:` comment just above: say why it is sound";
                self.findings.push(self.source.finding(own, "safety", text));
            }
        } else if ident(next).as_deref() == Some("impl") && !(argued(&own) || starts.iter().any(argued)) {
            let text = "this `unsafe impl` has no `// SAFETY:` comment just above: say why the promise holds";
            self.findings.push(self.source.finding(own, "safety", text));
        }
    }

    /// Looks for the comment in the unbroken run of comments and attributes above a line.
    fn comment_above(&self, line: usize) -> bool {
        let above = self.lines[..line.saturating_sub(1)].iter().rev();
        above
            .map(|line| line.trim_start())
            .take_while(|line| line.starts_with("//") || line.starts_with("#["))
            .any(is_reason)
    }

    /// Looks for the comment behind the opening brace or in the lines that follow it.
    fn comment_inside(&self, block: &Group) -> bool {
        let opened = block.span_open().start().line;
        let closed = block.span_close().start().line;
        let opening =
            self.lines.get(opened - 1).and_then(|line| line.split_once('{')).map_or("", |(_, rest)| rest.trim_start());
        let inside = self.lines[opened..closed].iter().map(|line| line.trim_start());
        is_reason(opening) || inside.take_while(|line| line.starts_with("//")).any(is_reason)
    }
}

/// Says whether a line is the start of a reason.
fn is_reason(line: &str) -> bool {
    line.trim_start_matches('/').trim_start().starts_with("SAFETY:") && line.starts_with("//")
}

/// Says whether the token at `index` ends a statement, an arm or a list's element.
fn ends_statement(sequence: &[TokenTree], index: usize) -> bool {
    let tree = sequence.get(index);
    let arrow = is_punct(tree, '>') && index > 0 && is_punct(sequence.get(index - 1), '=');
    let block = braces(tree).is_some() && !continues(sequence.get(index + 1));
    is_punct(tree, ';') || is_punct(tree, ',') || arrow || block
}

/// Says whether an expression goes on behind a block: `unsafe { … }.method()`, `{ … } + 1`, `{ … } else`.
fn continues(next: Option<&TokenTree>) -> bool {
    match next {
        Some(TokenTree::Punct(punct)) => punct.as_char() != '#',
        Some(TokenTree::Ident(ident)) => ident == "else" || ident == "as",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::check;

    #[test]
    fn finds_blocks_without_a_reason() {
        let text = r#"
fn f(p: *const u8) -> u8 {
    // Reads the byte.
    let a = unsafe { p.read() };
    // SAFETY: p is valid.
    let b = unsafe { p.read() };
    let c = unsafe { p.read() };

    // SAFETY: too far away.

    a + b + c + unsafe { p.read() }
}
struct S;
unsafe impl Send for S {}
macro_rules! m { ($p:expr) => { unsafe { $p.read() } } }
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [4, 7, 11, 14, 15]);
    }

    #[test]
    fn accepts_every_usual_place() {
        let text = r#"
fn f(p: *const u8) -> u8 {
    // SAFETY: p is valid.
    let a = unsafe { p.read() };
    // SAFETY: p is valid,
    // as the caller promised.
    #[allow(unused)]
    let b =
        call(1, unsafe { p.read() });
    let c = unsafe {
        // SAFETY: p is valid.
        p.read()
    };
    match a {
        // SAFETY: p is valid.
        0 => unsafe { p.read() },
        _ => S {
            // SAFETY: p is valid.
            value: unsafe { p.read() },
        }.value,
    }
}
// SAFETY: S holds nothing.
unsafe impl Send for S {}
macro_rules! m {
    ($p:expr) => {
        // SAFETY: the caller's.
        unsafe { $p.read() }
    };
}
#[unsafe(no_mangle)]
extern "C" fn g(callback: unsafe fn(u8)) {}
/// Says `unsafe { }` in words.
unsafe extern "C" {
    fn h();
}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }
}
