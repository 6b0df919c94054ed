//! Finds code blocks and what is to be done with each.

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// A code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The file, relative to the repository's root.
    pub path: String,
    /// The line on which it begins.
    pub line: usize,
    /// What is to be done with it, or why that is not known.
    pub role: Result<Role, String>,
    /// Its text.
    pub text: String,
}

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Text,
    /// Compared with what the block before it printed.
    Output,
    /// Run; the number is the exit code to expect.
    Run(i32),
    /// Run with the page's app; the number is the exit code to expect.
    App(i32),
    /// Parsed as a command line of this tool.
    Check,
    /// Parsed by the shell.
    Host,
    /// The app's manifest.
    Manifest,
    /// The app's source.
    Main,
    /// Parsed as TOML.
    Toml,
    /// Parsed as JSON.
    Json,
}

/// The known words, for messages.
const KNOWN: &str = "text, text output, sh run, sh app, sh check, sh host, toml app, rust app, toml, json";

/// Lists the code blocks of a page.
pub fn blocks(path: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (event, range) in Parser::new(text).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let line = text[..range.start].matches('\n').count() + 1;
                let role = match &kind {
                    CodeBlockKind::Fenced(info) => role(info),
                    CodeBlockKind::Indented => Err("an indented block: put it between ``` lines".into()),
                };
                open = Some(Block { path: path.into(), line, role, text: String::new() });
            }
            Event::Text(part) => {
                if let Some(block) = &mut open {
                    block.text.push_str(&part);
                }
            }
            Event::End(TagEnd::CodeBlock) => blocks.extend(open.take()),
            _ => {}
        }
    }
    blocks
}

/// Reads an info string.
fn role(info: &str) -> Result<Role, String> {
    let words: Vec<_> = info.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let exit = |word: &str| word.strip_prefix("exit=").and_then(|code| code.parse::<u8>().ok()).map(i32::from);
    let role = match words[..] {
        ["text"] => Some(Role::Text),
        ["text", "output"] => Some(Role::Output),
        ["sh", "run"] => Some(Role::Run(0)),
        ["sh", "run", code] => exit(code).map(Role::Run),
        ["sh", "app"] => Some(Role::App(0)),
        ["sh", "app", code] => exit(code).map(Role::App),
        ["sh", "check"] => Some(Role::Check),
        ["sh", "host"] => Some(Role::Host),
        ["toml", "app"] => Some(Role::Manifest),
        ["rust", "app"] => Some(Role::Main),
        ["toml"] => Some(Role::Toml),
        ["json"] => Some(Role::Json),
        _ => None,
    };
    role.ok_or_else(|| format!("```{info}: nothing would test this block; known: {KNOWN}"))
}
