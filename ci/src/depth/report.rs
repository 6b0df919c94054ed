//! Where the stack went, for people and for programs.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::fold;
use crate::compare::table::{Style, grid};

/// A run: of what, and where its stacks went.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The app.
    pub app: String,
    /// The architecture.
    pub arch: String,
    /// The policy; nothing for a kernel that came as a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The profile.
    pub profile: String,
    /// The QEMU command.
    pub command: String,
    /// No way had to be left out.
    pub all: bool,
    /// The ways into the kernel that were seen.
    pub entries: Vec<Entry>,
}

/// The deepest that a stack was seen that one way was on.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// `thread`, `user`, `call`, `interrupt`, `trap` or `other`.
    pub kind: String,
    /// The first function, the system call, or what came.
    pub name: String,
    /// Where that begins in the source, if it is a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Bytes in use, all that lie above included.
    pub bytes: u64,
    /// The number of the thread whose stack it was; of a trap's stack, of what stands for it.
    pub thread: u64,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_name: Option<String>,
    /// Its calls, the outermost first: their bytes make up all that is in use.
    pub chain: Vec<Frame>,
}

/// A function, and bytes of its own.
#[derive(Debug, Serialize)]
pub struct Frame {
    /// Its name.
    pub function: String,
    /// Where it stands, or goes on when what it has called returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Bytes of stack.
    pub bytes: u64,
}

/// What is written for programs.
#[derive(Serialize)]
struct Records<'a> {
    schema: u32,
    runs: [&'a Report; 1],
}

impl Entry {
    /// The way, in words.
    pub fn title(&self) -> String {
        match self.kind.as_str() {
            "call" => format!("system call {}", self.name),
            "user" => format!("user mode {}", self.name),
            "interrupt" => format!("{} interrupt", self.name),
            // Of these the name says all.
            "trap" => self.name.clone(),
            "other" => "anything else".to_owned(),
            kind => format!("{kind} {}", self.name),
        }
    }

    /// Whose stack it was.
    fn whose(&self) -> String {
        self.thread_name.clone().unwrap_or_else(|| format!("thread {}", self.thread))
    }

    /// The innermost function.
    fn deep_end(&self) -> &str {
        self.chain.last().map_or("", |frame| &frame.function)
    }
}

impl Report {
    /// What it is about.
    pub fn title(&self) -> String {
        let policy = self.policy.as_deref().map(|policy| format!(", {policy}")).unwrap_or_default();
        format!("{}, {}{policy}, {}", self.app, self.arch, self.profile)
    }

    /// The folder of its files.
    pub fn folder(&self) -> String {
        format!("{}/{}/{}/{}", self.arch, self.policy.as_deref().unwrap_or("packed"), self.profile, self.app)
    }

    /// The lines of a flame graph.
    pub fn folded(&self) -> String {
        fold::lines(&self.entries)
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON, which does not happen.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&Records { schema: 1, runs: [self] })?)
    }

    /// A table of entry points, and their chains.
    pub fn text(&self) -> String {
        let mut text =
            format!("{}: the deepest that stacks were seen, in bytes\n\n{}\n", self.title(), self.table().trim_end());
        for entry in &self.entries {
            let _ = writeln!(text, "\n{}: {} bytes, in {}", entry.title(), entry.bytes, entry.whose());
            if let Some(position) = &entry.position {
                let _ = writeln!(text, "          begins at {position}");
            }
            for frame in &entry.chain {
                let at = frame.position.as_deref().map(|position| format!(" at {position}")).unwrap_or_default();
                let _ = writeln!(text, "{:8}  {}{at}", frame.bytes, frame.function);
            }
        }
        if !self.all {
            text.push_str("\nthere was no room for some ways into the kernel: they count with the others\n");
        }
        text
    }

    fn table(&self) -> String {
        let heads = ["entry point", "bytes", "stack of", "where"].map(str::to_owned);
        let row = |entry: &Entry| {
            vec![cut(&entry.title()), entry.bytes.to_string(), cut(&entry.whose()), cut(entry.deep_end())]
        };
        grid(&heads, &self.entries.iter().map(row).collect::<Vec<_>>(), 1..2, Style::Terminal)
    }
}

/// Most characters of a name in the table; the chains below have the whole of it.
const MOST: usize = 60;

fn cut(name: &str) -> String {
    let characters = name.chars().count();
    if characters <= MOST {
        return name.to_owned();
    }
    // The end tells more than the beginning, which many share.
    format!("…{}", name.chars().skip(characters - MOST + 1).collect::<String>())
}
