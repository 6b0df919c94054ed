//! The flame graph: a tower for each way into the kernel, as wide as its deepest stack has bytes.

use std::fmt::Write;

use anyhow::{Context, Result};
use inferno::flamegraph::color::BasicPalette;
use inferno::flamegraph::{Options, Palette, from_lines};

use super::function::short;
use super::report::{Entry, Frame};

/// The lines that such figures are made of: the functions of a chain, the outermost first, with `;` between them, and the bytes of the
/// last.
pub fn lines(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let mut stack = bottom(entry);
        for Frame { function, bytes, .. } in &entry.chain {
            stack = format!("{stack};{}", in_box(function));
            if *bytes > 0 {
                let _ = writeln!(text, "{stack} {bytes}");
            }
        }
    }
    text
}

/// The way, with what it is called first: a box may have room for no more.
fn bottom(entry: &Entry) -> String {
    match entry.kind.as_str() {
        "trap" | "other" => in_box(&entry.title()),
        "user" => format!("{} (user mode)", in_box(&entry.name)),
        kind => format!("{} ({kind})", in_box(&entry.name)),
    }
}

/// A name for a box, without what separates names.
fn in_box(name: &str) -> String {
    short(name).replace(';', ",")
}

/// The figure.
///
/// # Errors
///
/// When there are no lines.
pub fn figure(folded: &str, title: &str) -> Result<Vec<u8>> {
    let mut options = Options::default();
    options.title = format!("Bytes of stack: {title}");
    options.subtitle = Some("a tower for each way into the kernel, at the deepest that its stack was seen".to_owned());
    options.count_name = "bytes".to_owned();
    options.image_width = Some(1400);
    // As wide as letters of one width are at most, so that no name is wider than its box.
    options.font_width = 0.62;
    // Greens, as such figures of memory have; each function's is the same in every figure.
    options.colors = Palette::Basic(BasicPalette::Mem);
    options.hash = true;
    let mut figure = Vec::new();
    from_lines(&mut options, folded.lines(), &mut figure).context("drawing the flame graph")?;
    Ok(figure)
}
