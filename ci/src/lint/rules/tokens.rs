//! Walks over token trees, which see into the bodies of macros.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Calls `visit` with every sequence of sibling tokens, the outermost first.
pub fn each_sequence(tokens: &TokenStream, visit: &mut dyn FnMut(&[TokenTree])) {
    let sequence: Vec<TokenTree> = tokens.clone().into_iter().collect();
    visit(&sequence);
    for tree in &sequence {
        if let TokenTree::Group(group) = tree {
            each_sequence(&group.stream(), visit);
        }
    }
}

/// The text of an identifier, or `None` for another token.
pub fn ident(tree: Option<&TokenTree>) -> Option<String> {
    match tree? {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

/// Says whether a token is the punctuation `sign`.
pub fn is_punct(tree: Option<&TokenTree>, sign: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// The group in braces at this place, if there is one.
pub fn braces(tree: Option<&TokenTree>) -> Option<&Group> {
    match tree? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

/// The line on which a token starts.
pub fn line(tree: &TokenTree) -> usize {
    tree.span().start().line
}

/// Says whether one of the `names` stands anywhere in the tokens; returns the first.
pub fn mentions<'a>(tokens: &TokenStream, names: &[&'a str]) -> Option<&'a str> {
    let mut found = None;
    each_sequence(tokens, &mut |sequence| {
        for tree in sequence {
            if let TokenTree::Ident(ident) = tree
                && found.is_none()
            {
                found = names.iter().find(|name| ident == **name).copied();
            }
        }
    });
    found
}
