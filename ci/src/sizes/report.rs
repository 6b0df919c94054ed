//! What is found of one image, for people and for programs.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use serde::Serialize;

use super::chain::{Chain, Scope, Search, Unbounded};
use super::graph::Graph;
use super::list::List;
use crate::arch::Arch;
use crate::compare::table::{Style, grid};

/// An image: which, and where its stacks go.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The app, or the file.
    pub app: String,
    /// The architecture.
    pub arch: String,
    /// The policy; nothing if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Each entry point that the image has.
    pub entries: Vec<Entry>,
    /// All functions, those with the largest frames first.
    pub frames: Vec<Frame>,
    /// What is not understood, and calls that no list explains, by function.
    pub unknown: Vec<Unknown>,
    /// Functions whose address is taken, and which nobody is said to call.
    pub strays: Vec<String>,
}

/// An entry point.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes on the stack before its first instruction.
    pub above_bytes: i64,
    /// Bytes of its stack, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_bytes: Option<i64>,
    /// The largest chain of a run that goes on.
    pub running: Largest,
    /// The largest of all, with what ends the run.
    pub whole: Largest,
}

/// A largest chain.
#[derive(Debug, Serialize)]
pub struct Largest {
    /// Its bytes, and those above it.
    pub bytes: i64,
    /// Its functions, the first caller first.
    pub chain: Vec<Frame>,
    /// Why there may be a larger one.
    pub unbounded: Vec<String>,
}

/// A function, and bytes of its own.
#[derive(Debug, Serialize)]
pub struct Frame {
    /// Its name.
    pub function: String,
    /// Bytes of stack: in a chain those in use at the call by which it goes on.
    pub bytes: i64,
}

/// What is not known of a function.
#[derive(Debug, Serialize)]
pub struct Unknown {
    /// Its name.
    pub function: String,
    /// Each with its address.
    pub what: Vec<String>,
}

impl Report {
    /// Looks for the largest chain of each entry point.
    pub fn of(app: &str, arch: Arch, policy: Option<String>, graph: &Graph, list: &List) -> Self {
        let mut searches = HashMap::new();
        let mut entries = Vec::new();
        for entry in &list.entry {
            let without: BTreeSet<_> = entry.without.iter().flat_map(|pattern| graph.matching(pattern)).collect();
            let mut of = |scope: Scope| {
                let new = || Search::new(graph, scope, without.clone());
                let search = searches.entry((scope, without.clone())).or_insert_with(new);
                let functions = graph.matching(&entry.function).into_iter();
                let chains: Vec<_> = functions.map(|node| search.from(node)).collect();
                let unbounded = chains.iter().flat_map(|chain| chain.unbounded.clone()).collect();
                chains.into_iter().max_by_key(|chain| chain.bytes).map(|chain| Chain { unbounded, ..chain })
            };
            let (Some(running), Some(whole)) = (of(Scope::Running), of(Scope::Whole)) else { continue };
            entries.push(Entry {
                name: entry.name.clone(),
                above_bytes: entry.above(arch),
                room_bytes: entry.room(arch),
                running: largest(graph, &running, entry.above(arch)),
                whole: largest(graph, &whole, entry.above(arch)),
            });
        }
        let mut frames: Vec<_> =
            (0..graph.nodes.len()).map(|node| frame(graph, node, graph.nodes[node].frame)).collect();
        frames.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.function.cmp(&b.function)));
        let strays = graph.strays.iter().map(|node| graph.nodes[*node].name().to_owned()).collect();
        Self { app: app.to_owned(), arch: arch.to_string(), policy, entries, frames, unknown: unknown(graph), strays }
    }

    /// What it is about.
    pub fn title(&self) -> String {
        let policy = self.policy.as_deref().map(|policy| format!(", {policy}")).unwrap_or_default();
        format!("{}, {}{policy}", self.app, self.arch)
    }

    /// A table of entry points, each of them with its chains, the largest frames, and what is not known.
    pub fn text(&self, frames: usize) -> String {
        let mut text = format!("{}: bytes of stack, at most\n\n{}\n", self.title(), self.table().trim_end());
        for entry in &self.entries {
            show(&mut text, entry, "while the run goes on", &entry.running);
            if entry.whole.bytes > entry.running.bytes {
                show(&mut text, entry, "with what ends the run", &entry.whole);
            }
        }
        let _ = writeln!(text, "\nthe largest frames of {} functions:", self.frames.len());
        for frame in self.frames.iter().take(frames) {
            let _ = writeln!(text, "{:8}  {}", frame.bytes, frame.function);
        }
        for unknown in &self.unknown {
            let _ = writeln!(text, "\nnot known of {}:", unknown.function);
            for what in unknown.what.iter().take(MOST_SHOWN) {
                let _ = writeln!(text, "  {what}");
            }
            if unknown.what.len() > MOST_SHOWN {
                let _ = writeln!(text, "  and {} more", unknown.what.len() - MOST_SHOWN);
            }
        }
        for stray in &self.strays {
            let _ = writeln!(text, "\nits address is taken, and no list says who calls it: {stray}");
        }
        text
    }

    fn table(&self) -> String {
        let heads = ["entry point", "running", "whole", "room"].map(str::to_owned);
        let row = |entry: &Entry| {
            let bytes = |largest: &Largest| format!("{}{}", if largest.is_bound() { "" } else { "≥ " }, largest.bytes);
            let room = entry.room_bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
            vec![entry.name.clone(), bytes(&entry.running), bytes(&entry.whole), room]
        };
        grid(&heads, &self.entries.iter().map(row).collect::<Vec<_>>(), 1..heads.len(), Style::Terminal)
    }
}

/// Most lines that are shown of what is not known of one function.
const MOST_SHOWN: usize = 4;

impl Largest {
    /// Whether there cannot be a larger one.
    pub fn is_bound(&self) -> bool {
        self.unbounded.is_empty()
    }
}

fn show(text: &mut String, entry: &Entry, scope: &str, largest: &Largest) {
    let _ = writeln!(text, "\n{}, {scope}: {} bytes", entry.name, largest.bytes);
    if entry.above_bytes != 0 {
        let _ = writeln!(text, "{:8}  on its stack already", entry.above_bytes);
    }
    for frame in &largest.chain {
        let _ = writeln!(text, "{:8}  {}", frame.bytes, frame.function);
    }
    for why in &largest.unbounded {
        let _ = writeln!(text, "  unbounded: {why}");
    }
}

fn frame(graph: &Graph, node: usize, bytes: i64) -> Frame {
    Frame { function: graph.nodes[node].name().to_owned(), bytes }
}

fn largest(graph: &Graph, chain: &Chain, above: i64) -> Largest {
    let name = |node: &usize| graph.nodes[*node].name();
    let why = |why: &Unbounded| match why {
        Unbounded::Unlisted(node) => format!("{} calls somebody that no list names", name(node)),
        Unbounded::Doubt(node) => format!("{} does something that is not understood", name(node)),
        Unbounded::Recursion(way) => {
            let way: Vec<_> = way.iter().chain(way.first()).map(name).collect();
            format!("recursion: {}", way.join(" → "))
        }
    };
    Largest {
        bytes: chain.bytes + above,
        chain: chain.links.iter().map(|(node, bytes)| frame(graph, *node, *bytes)).collect(),
        unbounded: chain.unbounded.iter().map(why).collect(),
    }
}

fn unknown(graph: &Graph) -> Vec<Unknown> {
    let of = |node: &super::graph::Node| {
        let calls = node.unlisted.iter().map(|(at, text)| format!("{at:#x}: `{text}`: no list says whom it calls"));
        let doubts = node.doubts.iter().map(|doubt| format!("{:#x}: {}", doubt.at, doubt.what));
        Unknown { function: node.name().to_owned(), what: calls.chain(doubts).collect() }
    };
    graph.nodes.iter().map(of).filter(|unknown| !unknown.what.is_empty()).collect()
}
