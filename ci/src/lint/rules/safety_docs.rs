//! Every `unsafe fn` and `unsafe trait` says in a `# Safety` section what its user must keep.
//!
//! A method of a trait's implementation has its trait's documentation and needs none of its own.

use proc_macro2::Span;
use syn::visit::Visit;
use syn::{Attribute, Expr, Ident, Lit, Meta, Safety, Signature};

use crate::lint::{Finding, Source};

/// Finds `unsafe` functions and traits without the section.
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
    /// Notes what has no `# Safety` section.
    fn require(&mut self, what: &str, name: &Ident, span: Span, attributes: &[Attribute]) {
        if !has_section(attributes) {
            let text = format!("`unsafe {what} {name}` has no `# Safety` section: document what its user must keep");
            self.findings.push(self.source.finding(span.start().line, "safety-docs", text));
        }
    }

    /// Checks a function that may be unsafe.
    fn function(&mut self, signature: &Signature, attributes: &[Attribute]) {
        if let Some(word) = unsafety(signature) {
            self.require("fn", &signature.ident, word, attributes);
        }
    }
}

/// The word `unsafe` of a signature.
fn unsafety(signature: &Signature) -> Option<Span> {
    match &signature.safety {
        Safety::Unsafe(word) => Some(word.span),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.attrs);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, &item.attrs);
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none() {
            for entry in &item.items {
                if let syn::ImplItem::Fn(function) = entry {
                    self.function(&function.sig, &function.attrs);
                }
            }
        }
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(word) = &item.unsafety {
            self.require("trait", &item.ident, word.span, &item.attrs);
        }
        syn::visit::visit_item_trait(self, item);
    }
}

/// Says whether the documentation has a `# Safety` section.
fn has_section(attributes: &[Attribute]) -> bool {
    attributes.iter().filter_map(doc_text).any(|text| text.lines().any(|line| line.trim() == "# Safety"))
}

/// The text of a `#[doc = "…"]` attribute, which is what a doc comment is.
fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::check;

    #[test]
    fn finds_what_is_undocumented() {
        let text = r#"
unsafe fn one() {}
/// Safety matters.
pub unsafe extern "C" fn two() {}
impl S {
    unsafe fn three() {}
}
unsafe trait Four {
    unsafe fn five();
}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [2, 4, 6, 8, 9]);
    }

    #[test]
    fn accepts_sections_and_implementations() {
        let text = r#"
/// Does one.
///
/// # Safety
///
/// Only once.
unsafe fn one() {}
/** Two.

# Safety

Only twice. */
pub unsafe trait Two {}
unsafe impl Two for S {}
impl Three for S {
    unsafe fn three() {}
}
fn four(callback: unsafe fn()) {}
"#;
        assert_eq!(found(check, "core/src/lib.rs", text), [0; 0]);
    }
}
