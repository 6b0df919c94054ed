//! Every spin loop calls `spin_loop()`.
//!
//! A loop spins when it does nothing but look: an empty body, or a condition or body that reads an atomic (or tries
//! a lock) and makes no other call. Under QEMU with `-icount` a spin loop without the hint costs 10^8 instructions.

use syn::visit::Visit;
use syn::{Block, Expr};

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
            let text =
                "this loop spins without the hint: call `core::hint::spin_loop()` in its body, or let the thread sleep";
            self.findings.push(self.source.finding(line, "spin-loop", text));
        }
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

    fn visit_macro(&mut self, _: &'ast syn::Macro) {
        self.works = true;
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
