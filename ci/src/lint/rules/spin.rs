//! Every spin loop calls `spin_loop()`.
//!
//! A loop spins when it does nothing but look: an empty body, or a condition or body that reads an atomic (or tries
//! a lock) and makes no other call. So does a `for` that counts tries: `for _ in` or `for … in 0..`, left as soon as the
//! atomic says so. Assertions and log messages are no work. Bodies of macros are read as tokens. Under QEMU with `-icount` a spin loop without the hint costs 10^8 instructions.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Block, Expr, Pat};

use super::tokens::{braces, each_sequence, ident, is_punct, line};
use crate::lint::{Finding, Source};

/// Methods that look at what another CPU or thread writes.
const LOOKS: &[&str] = &[
    "load",
    "swap",
    "compare_exchange",
    "compare_exchange_weak",
    "compare_and_swap",
    "fetch_add",
    "fetch_sub",
    "fetch_or",
    "fetch_and",
    "fetch_update",
    "test_and_set",
    "try_lock",
    "try_read",
    "try_write",
    "try_acquire",
    "read_volatile",
];

/// Calls that only take an answer apart, and so are no work.
const PLAIN: &[&str] = &[
    "Some",
    "Ok",
    "Err",
    "is_some",
    "is_none",
    "is_ok",
    "is_err",
    "unwrap",
    "expect",
    "ok",
    "err",
    "not",
    "wrapping_add",
    "wrapping_sub",
    "as_ref",
    "clone",
    "into",
    "from",
];

/// Macros that are no work: they are compiled out, or say what was seen.
const IDLE_MACROS: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "debug",
    "error",
    "info",
    "trace",
    "warn",
];

/// Words that stand before a group in parentheses and call nothing.
const KEYWORDS: &[&str] = &["if", "while", "match", "in", "return", "break", "let", "else", "mut", "as", "move"];

/// Finds spin loops without the hint.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut walk = Walk { source, findings: Vec::new() };
    walk.visit_file(&source.syntax);
    walk.findings
}

/// One walk over a file.
struct Walk<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    /// Judges one loop by what its condition and body call.
    fn judge(&mut self, line: usize, condition: Option<&Expr>, body: &Block) {
        let mut calls = Calls::default();
        if let Some(condition) = condition {
            calls.visit_expr(condition);
        }
        let in_condition = std::mem::take(&mut calls.works);
        calls.visit_block(body);
        // What a condition calls besides is how it looks (`uart.status()`), not work that takes time.
        let spins = body.stmts.is_empty() || (calls.looks && !calls.works && (condition.is_some() || !in_condition));
        if spins && !calls.hints {
            self.note(line);
        }
    }

    /// Judges a loop that counts its tries. Going through a list of atomics is a search, and no spinning.
    fn judge_for(&mut self, item: &syn::ExprForLoop) {
        let endless = matches!(&*item.expr, Expr::Range(range) if range.end.is_none());
        let mut calls = Calls::default();
        calls.visit_block(&item.body);
        if (endless || matches!(*item.pat, Pat::Wild(_))) && calls.leaves && calls.looks && !calls.works && !calls.hints
        {
            self.note(item.for_token.span.start().line);
        }
    }

    /// Judges the `while` and `loop` among sibling tokens of a macro.
    fn judge_tokens(&mut self, sequence: &[TokenTree]) {
        for (index, tree) in sequence.iter().enumerate() {
            let conditional = match ident(Some(tree)).as_deref() {
                Some("while") => true,
                Some("loop") => false,
                _ => continue,
            };
            // The condition ends at the first block: what else has braces must stand in parentheses there.
            let rest = &sequence[index + 1..];
            let Some((length, body)) = rest.iter().enumerate().find_map(|(at, tree)| Some((at, braces(Some(tree))?)))
            else {
                continue;
            };
            if !conditional && length != 0 {
                continue;
            }
            let mut calls = Calls::default();
            rest[..length].iter().cloned().collect::<TokenStream>().walk(&mut calls);
            calls.works = false;
            body.stream().walk(&mut calls);
            if (body.stream().is_empty() || (calls.looks && !calls.works)) && !calls.hints {
                self.note(line(tree));
            }
        }
    }

    /// Notes a loop that spins.
    fn note(&mut self, line: usize) {
        let text =
            "this loop spins without the hint: call `core::hint::spin_loop()` in its body, or let the thread sleep";
        self.findings.push(self.source.finding(line, "spin-loop", text));
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_expr_while(&mut self, item: &'ast syn::ExprWhile) {
        self.judge(item.while_token.span.start().line, Some(&item.cond), &item.body);
        syn::visit::visit_expr_while(self, item);
    }

    fn visit_expr_loop(&mut self, item: &'ast syn::ExprLoop) {
        self.judge(item.loop_token.span.start().line, None, &item.body);
        syn::visit::visit_expr_loop(self, item);
    }

    fn visit_expr_for_loop(&mut self, item: &'ast syn::ExprForLoop) {
        self.judge_for(item);
        syn::visit::visit_expr_for_loop(self, item);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        each_sequence(&item.tokens, &mut |sequence| self.judge_tokens(sequence));
    }
}

/// What an expression calls.
#[derive(Default)]
struct Calls {
    /// It reads what others write.
    looks: bool,
    /// It calls something else, which may take time or sleep.
    works: bool,
    /// It calls `spin_loop`.
    hints: bool,
    /// It leaves the loop, or the function.
    leaves: bool,
}

impl Calls {
    /// Sorts one call by its name.
    fn note(&mut self, name: &str) {
        match name {
            "spin_loop" => self.hints = true,
            name if LOOKS.contains(&name) => self.looks = true,
            name if PLAIN.contains(&name) => {}
            _ => self.works = true,
        }
    }
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        match &*call.func {
            Expr::Path(path) => {
                self.note(&path.path.segments.last().map_or(String::new(), |last| last.ident.to_string()))
            }
            _ => self.works = true,
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.note(&call.method.to_string());
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_break(&mut self, item: &'ast syn::ExprBreak) {
        self.leaves = true;
        syn::visit::visit_expr_break(self, item);
    }

    fn visit_expr_return(&mut self, item: &'ast syn::ExprReturn) {
        self.leaves = true;
        syn::visit::visit_expr_return(self, item);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let name = item.path.segments.last().map_or(String::new(), |last| last.ident.to_string());
        self.works |= !IDLE_MACROS.contains(&name.as_str());
    }
}

/// Tokens that calls are looked for in.
trait Walked {
    fn walk(self, calls: &mut Calls);
}

impl Walked for TokenStream {
    fn walk(self, calls: &mut Calls) {
        let sequence: Vec<_> = self.into_iter().collect();
        let group = |index: usize| match sequence.get(index) {
            Some(TokenTree::Group(group)) => Some(group),
            _ => None,
        };
        let call = |group: &Group| group.delimiter() == Delimiter::Parenthesis;
        let mut index = 0;
        while let Some(tree) = sequence.get(index) {
            index += 1;
            if let TokenTree::Group(group) = tree {
                group.stream().walk(calls);
            }
            // `$body` may be anything; `$flag.load(…)` calls what its name says.
            if is_punct(Some(tree), '$') && ident(sequence.get(index)).is_some() {
                calls.works |= !is_punct(sequence.get(index + 1), '.');
                index += 1;
            } else if let Some(name) = ident(Some(tree)) {
                if is_punct(sequence.get(index), '!') && group(index + 1).is_some() {
                    calls.works |= !IDLE_MACROS.contains(&name.as_str());
                    index += 2;
                } else if group(index).is_some_and(call) && !KEYWORDS.contains(&name.as_str()) {
                    calls.note(&name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::check;

    #[test]
    fn finds_spin_loops() {
        let text = r#"
fn f() {
    while flag.load(Relaxed) {}
    while !uart.is_ready() {}
    loop {}
    while lock.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
        tries += 1;
    }
    loop {
        if let Some(guard) = lock.try_lock() {
            break guard;
        }
    }
    while let Err(seen) = word.compare_exchange(old, new, AcqRel, Acquire) {
        old = seen;
    }
}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [3, 4, 5, 6, 9, 14]);
    }

    #[test]
    fn sees_through_assertions_counted_tries_and_macros() {
        let text = r#"
fn f() {
    loop { if flag.load(Relaxed) { break } debug_assert!(true); }
    loop { if flag.load(Relaxed) { break } log::trace!("not {}", yet()); }
    for _ in 0.. { if flag.load(Relaxed) { break } }
    for _ in 0..1000 { if let Some(guard) = lock.try_lock() { return Some(guard) } }
    for tries in 0.. { if flag.load(Relaxed) { break } }
}
macro_rules! m {
    ($flag:expr) => {
        while !$flag.load(Relaxed) {}
        while self.word.load(Relaxed) != 0 { tries += 1; }
        loop { if $flag.swap(true, Acquire) { break } assert!(ready()); }
    };
}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [3, 4, 5, 6, 7, 11, 12, 13]);
    }

    #[test]
    fn leaves_searches_counts_and_work_in_macros_alone() {
        let text = r#"
fn f() {
    for slot in &slots { if slot.try_lock().is_some() { return slot } }
    for index in 0..9 { if slots[index].load(Relaxed) == 0 { break } }
    for _ in 0..1000 { count.fetch_add(1, Relaxed); }
    for _ in 0.. { if flag.load(Relaxed) { break } spin_loop(); }
    for _ in 0..9 { if flag.load(Relaxed) { break } thread::park(); }
    loop { if flag.load(Relaxed) { break } println!("waiting"); }
}
macro_rules! m {
    ($flag:expr, $body:block) => {
        while !$flag.load(Relaxed) { core::hint::spin_loop(); }
        while !$flag.load(Relaxed) { $body }
        while $flag.load(Relaxed) { step(); }
        while index < count { index += 1; }
        loop { asm!("hlt") }
    };
}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }

    #[test]
    fn leaves_hints_sleeps_and_work_alone() {
        let text = r#"
fn f() {
    while flag.load(Relaxed) {
        core::hint::spin_loop();
    }
    while !uart.is_ready() {
        spin_loop()
    }
    loop {
        cpu::wait_for_interrupt();
    }
    while !done.load(Acquire) {
        thread::park();
    }
    while index < count {
        index += 1;
    }
    while let Some(page) = list.next() {
        map(page);
    }
    loop {
        unsafe { asm!("hlt") }
    }
    loop {
        if queue.load(Relaxed) == 0 { break; }
        queue.handle_one();
    }
}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }
}
