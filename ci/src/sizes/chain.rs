//! The largest chain of calls that begins at a function.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::graph::Graph;
use super::list::MOST_RECURSIONS;

/// A chain of calls.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    /// Bytes of stack, all in all.
    pub bytes: i64,
    /// Its functions, the first caller first, each with its own bytes.
    pub links: Vec<(usize, i64)>,
    /// Why it may be larger; empty where it is a bound.
    pub unbounded: BTreeSet<Unbounded>,
}

/// Why nobody knows how large a chain may become.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unbounded {
    /// The function calls through an address, and no list says whom.
    Unlisted(usize),
    /// The function does something that is not understood.
    Doubt(usize),
    /// The first function calls itself, or comes to be called by those that follow, and no list says how often.
    Recursion(Vec<usize>),
}

/// Whether chains may go on into functions that end the run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// They may.
    Whole,
    /// What ends the run is left out.
    Running,
}

/// How often the functions of each recursion stand on the stack.
type Counts = [u8; MOST_RECURSIONS];

/// The largest chain from a function on: its bytes, and the call by which it goes on.
type Best = (i64, Option<(i64, usize, Counts)>);

/// A search for the largest chains.
pub struct Search<'a> {
    graph: &'a Graph,
    scope: Scope,
    /// Functions that chains do not go into.
    without: BTreeSet<usize>,
    best: HashMap<(usize, Counts), Best>,
    /// The functions on the way to where the search is.
    open: Vec<(usize, Counts)>,
    /// Ways from a function back to it.
    recursions: BTreeMap<usize, Vec<usize>>,
}

impl<'a> Search<'a> {
    /// Begins a search.
    pub fn new(graph: &'a Graph, scope: Scope, without: BTreeSet<usize>) -> Self {
        Self { graph, scope, without, best: HashMap::new(), open: Vec::new(), recursions: BTreeMap::new() }
    }

    /// The largest chain from a function on.
    pub fn from(&mut self, node: usize) -> Chain {
        let Some(counts) = self.entered(node, Counts::default()) else { return Chain::default() };
        let bytes = self.best(node, counts);
        let mut links = Vec::new();
        let (mut node, mut counts) = (node, counts);
        loop {
            let (rest, next) = self.best[&(node, counts)];
            let Some((depth, callee, after)) = next else {
                links.push((node, rest));
                break;
            };
            links.push((node, depth));
            (node, counts) = (callee, after);
        }
        let unbounded = self.unbounded(links[0].0);
        Chain { bytes, links, unbounded }
    }

    fn is_left_out(&self, node: usize) -> bool {
        self.scope == Scope::Running && self.graph.nodes[node].ends || self.without.contains(&node)
    }

    /// What stands on the stack once a function is entered; nothing if it may not be.
    fn entered(&self, node: usize, mut counts: Counts) -> Option<Counts> {
        if self.is_left_out(node) {
            return None;
        }
        if let Some(recursion) = self.graph.nodes[node].recursion {
            counts[recursion] += 1;
            if counts[recursion] > self.graph.most[recursion] {
                return None;
            }
        }
        Some(counts)
    }

    fn best(&mut self, node: usize, counts: Counts) -> i64 {
        let key = (node, counts);
        if let Some((bytes, _)) = self.best.get(&key) {
            return *bytes;
        }
        self.open.push(key);
        let graph = self.graph;
        let mut best = (graph.nodes[node].frame, None);
        for edge in &graph.nodes[node].edges {
            let Some(after) = self.entered(edge.to, counts) else { continue };
            if let Some(first) = self.open.iter().position(|open| *open == (edge.to, after)) {
                let way = self.open[first..].iter().map(|(node, _)| *node).collect();
                self.recursions.entry(edge.to).or_insert(way);
                continue;
            }
            let bytes = edge.depth + self.best(edge.to, after);
            if bytes > best.0 {
                best = (bytes, Some((edge.depth, edge.to, after)));
            }
        }
        self.open.pop();
        self.best.insert(key, best);
        best.0
    }

    /// Why the chains from a function on may be larger than what was found.
    fn unbounded(&self, from: usize) -> BTreeSet<Unbounded> {
        let mut why = BTreeSet::new();
        for node in self.reached(from) {
            if !self.graph.nodes[node].unlisted.is_empty() {
                why.insert(Unbounded::Unlisted(node));
            }
            if !self.graph.nodes[node].doubts.is_empty() {
                why.insert(Unbounded::Doubt(node));
            }
            if let Some(way) = self.recursions.get(&node) {
                why.insert(Unbounded::Recursion(way.clone()));
            }
        }
        why
    }

    /// All that a function may come to call, itself included.
    fn reached(&self, from: usize) -> BTreeSet<usize> {
        let (mut reached, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(node) = open.pop() {
            for edge in &self.graph.nodes[node].edges {
                if !self.is_left_out(edge.to) && reached.insert(edge.to) {
                    open.push(edge.to);
                }
            }
        }
        reached
    }
}
