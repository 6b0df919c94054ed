//! Who calls whom, from what depth.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::aarch64::Aarch64;
use super::decode::x86_64::X86_64;
use super::decode::{Decode, Flow, Step};
use super::elf::Code;
use super::list::List;
use super::walk::{Call, Callee, Context, Doubt, Moves, Walked, walk};
use crate::arch::Arch;

/// A function.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Its names.
    pub names: Vec<String>,
    /// Where it lies.
    pub address: u64,
    /// The most bytes of stack that it uses itself.
    pub frame: i64,
    /// Whom it calls on its stack.
    pub edges: Vec<Edge>,
    /// Calls of which neither code nor list says whom they reach: where, and the instruction.
    pub unlisted: BTreeMap<u64, String>,
    /// What is not understood of it.
    pub doubts: BTreeSet<Doubt>,
    /// Calls on other stacks.
    pub elsewhere: usize,
    /// Whether it ends the run.
    pub ends: bool,
    /// The recursion that it is counted in.
    pub recursion: Option<usize>,
}

impl Node {
    /// The first of its names.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// A call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edge {
    /// Bytes of the caller's that lie above the callee's.
    pub depth: i64,
    /// The callee.
    pub to: usize,
}

/// All functions of an image.
#[derive(Debug, Default)]
pub struct Graph {
    /// The functions, in the order of addresses.
    pub nodes: Vec<Node>,
    /// How often those of each recursion may stand on a stack at once.
    pub most: Vec<u8>,
    /// Functions whose address something takes, and which neither list nor code says are called.
    pub strays: Vec<usize>,
}

impl Graph {
    /// Walks through every function of an image.
    pub fn of(code: &Code, list: &List) -> Self {
        match code.arch {
            Arch::X86_64 => Self::decoded::<X86_64>(code, list),
            Arch::Aarch64 => Self::decoded::<Aarch64>(code, list),
        }
    }

    fn decoded<D: Decode>(code: &Code, list: &List) -> Self {
        let steps: Vec<_> = code.functions.iter().map(|one| D::decode(&one.code, one.address)).collect();
        let returning = returning(code, &steps, list);
        let context = Context {
            convention: D::CONVENTION,
            may_return: &|address| code.at(address).is_none_or(|function| returning[function]),
            constant: &|address| code.constants.get(&address).copied(),
        };
        let functions = code.functions.iter().zip(&steps);
        let walked: Vec<_> =
            functions.map(|(function, steps)| walk(steps, list.leave(&function.names), &context)).collect();
        let nodes: Vec<_> = walked.iter().enumerate().map(|(place, walked)| node(code, list, place, walked)).collect();
        let strays = strays(code, list, &nodes, &walked);
        Self { nodes, most: list.recursion.iter().map(|one| one.most).collect(), strays }
    }

    /// The functions that a pattern fits.
    pub fn matching(&self, pattern: &super::list::Pattern) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| pattern.fits(&self.nodes[*node].names)).collect()
    }
}

/// Which functions may return: those with a return, and those that jump to one that may.
fn returning(code: &Code, steps: &[Vec<Step>], list: &List) -> Vec<bool> {
    let said: Vec<_> = code.functions.iter().map(|function| list.returns(&function.names)).collect();
    let mut returning: Vec<_> = said.iter().map(|said| said.unwrap_or(false)).collect();
    loop {
        let mut changed = false;
        for place in (0..steps.len()).filter(|place| said[*place].is_none()) {
            let switches = list.leave(&code.functions[place].names).moves == Moves::Switches;
            let back = |step: &Step| match &step.flow {
                Flow::Return => true,
                Flow::JumpThrough { table: false, .. } | Flow::JumpAt(_) => !switches,
                Flow::Jump(target) | Flow::Branch(target) => {
                    code.at(*target).is_some_and(|function| returning[function])
                }
                _ => false,
            };
            if !returning[place] && steps[place].iter().any(back) {
                returning[place] = true;
                changed = true;
            }
        }
        if !changed {
            return returning;
        }
    }
}

/// Makes a function of what a walk has found.
fn node(code: &Code, list: &List, place: usize, walked: &Walked) -> Node {
    let function = &code.functions[place];
    let mut node = Node {
        names: function.names.clone(),
        address: function.address,
        frame: walked.deepest,
        doubts: walked.doubts.clone(),
        ends: list.ends(&function.names),
        recursion: list.recursion(&function.names),
        ..Node::default()
    };
    for call in &walked.calls {
        if call.elsewhere {
            node.elsewhere += 1;
            continue;
        }
        match &call.to {
            Callee::At(address) => match code.at(*address) {
                Some(to) => node.edges.push(Edge { depth: call.depth, to }),
                None => {
                    node.doubts.insert(Doubt { at: call.at, what: "it goes into the middle of another function" });
                }
            },
            Callee::Through(text) => listed(code, list, &mut node, call, text),
        }
    }
    for pattern in list.then(&function.names) {
        let to = (0..code.functions.len()).filter(|place| pattern.fits(&code.functions[*place].names));
        node.edges.extend(to.map(|to| Edge { depth: walked.deepest, to }));
    }
    node
}

/// Adds the edges of a call that does not say whom it reaches.
fn listed(code: &Code, list: &List, node: &mut Node, call: &Call, text: &str) {
    let fits = |through: &super::list::Pattern| through.fits_text(text);
    let lists: Vec<_> = list
        .calls
        .iter()
        .filter(|calls| calls.function.fits(&node.names) && calls.through.as_ref().is_none_or(fits))
        .collect();
    let mut targets = BTreeSet::new();
    for pattern in lists.iter().flat_map(|calls| &calls.targets) {
        targets.extend((0..code.functions.len()).filter(|place| pattern.fits(&code.functions[*place].names)));
    }
    let nobody = lists.iter().any(|calls| calls.none);
    if targets.is_empty() && !nobody {
        node.unlisted.insert(call.at, text.to_owned());
    }
    node.edges.extend(targets.into_iter().map(|to| Edge { depth: call.depth, to }));
}

/// Functions that somebody may call through their address, but nobody is said to.
fn strays(code: &Code, list: &List, nodes: &[Node], walked: &[Walked]) -> Vec<usize> {
    let called: BTreeSet<_> = nodes.iter().flat_map(|node| &node.edges).map(|edge| edge.to).collect();
    let is_entry = |place: usize| {
        let names = &nodes[place].names;
        list.entry.iter().any(|entry| entry.function.fits(names)) || list.is_only_taken(names)
    };
    let taken = walked.iter().flat_map(|walked| &walked.taken).chain(&code.words);
    let functions: BTreeSet<_> = taken.filter_map(|address| code.at(*address)).collect();
    functions.into_iter().filter(|place| !called.contains(place) && !is_entry(*place)).collect()
}
