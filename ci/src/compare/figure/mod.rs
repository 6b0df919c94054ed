//! The figures of the report: what the tables say, as pictures. Each is an SVG file that stands for itself, and part of the
//! report that a browser shows.
//!
//! One is drawn for each architecture and setting, and only from what was measured: where a figure has nothing to show it is left out.

mod axis;
mod bars;
mod canvas;
mod cost;
mod deep;
mod depth;
mod lines;
mod memory;
mod server;
mod source;
#[cfg(test)]
mod tests;
mod work;

use super::peers::Peer;
use super::record::Record;
pub use canvas::Picture;
use source::Source;

/// A figure of the report.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its file's name, without the ending.
    pub name: String,
    /// What it shows, in a line.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// What is drawn.
    pub picture: Picture,
}

/// What a kind of figure shows of a setting, if that was measured.
type Kind = fn(&Source<'_>) -> Option<Figure>;

/// The kinds, in the order in which the report shows them.
const KINDS: &[Kind] = &[
    cost::yielding,
    cost::waking,
    memory::machines,
    server::threads,
    server::bursts,
    deep::sleepers,
    work::against_static,
    depth::histogram,
];

/// Draws all figures of all settings, with what the peers published beside some.
pub fn all(records: &[Record], peers: &[Peer]) -> Vec<Figure> {
    let sources = source::of(records, peers);
    KINDS.iter().flat_map(|kind| sources.iter().filter_map(move |source| kind(source))).collect()
}
