//! `tests/stack-sizes/budget.toml`: how much stack each entry point of an image may take.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::{Entry, Largest, Report};
use crate::exit;

/// The whole file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Each image.
    pub image: Vec<Image>,
}

/// An image.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The example that it is built from.
    pub app: String,
    /// The architecture.
    pub arch: String,
    /// The policy.
    pub policy: String,
    /// Its entry points.
    pub entries: BTreeMap<String, Limits>,
}

/// What an entry point may take, in bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// In a run that goes on.
    pub running: i64,
    /// With what ends the run.
    pub whole: i64,
}

/// Limits are multiples of so many bytes.
const STEP: i64 = 256;

impl Budget {
    /// Reads a budget.
    ///
    /// # Errors
    ///
    /// When the text is none (121).
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        toml::from_str(text)
            .map_err(|error| exit::usage(format!("{path} is no budget: {}", error.to_string().trim_end())))
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for image in &self.image {
            let _ = write!(
                text,
                "\n[[image]]\napp = \"{}\"\narch = \"{}\"\npolicy = \"{}\"\n[image.entries]\n",
                image.app, image.arch, image.policy
            );
            for (name, Limits { running, whole }) in &image.entries {
                let _ = writeln!(text, "\"{name}\" = {{ running = {running}, whole = {whole} }}");
            }
        }
        text
    }
}

/// What stands above the images.
const HEAD: &str = "# How much stack each entry point may take, in bytes, in the images of release builds: `running` while the run goes on, \
                    `whole` with\n# what ends it. `cargo xtask stack-sizes --check` fails where an image takes more, or where it cannot tell. \
                    Figures are what\n# `cargo xtask stack-sizes --bless` found, and some more: another compiler takes some bytes more or less.\n";

/// What an image may take from now on: what it takes, 1/16 more, and up to the next step.
pub fn limits(report: &Report) -> BTreeMap<String, Limits> {
    let limit = |largest: &Largest| (largest.bytes + largest.bytes / 16 + STEP - 1) / STEP * STEP;
    let of = |entry: &Entry| {
        let limits = Limits { running: limit(&entry.running), whole: limit(&entry.whole) };
        (entry.name.clone(), limits)
    };
    report.entries.iter().map(of).collect()
}

/// What is wrong with an image, a line for each thing.
pub fn check(report: &Report, image: &Image) -> Vec<String> {
    let title = report.title();
    let mut wrong = Vec::new();
    for entry in &report.entries {
        let name = &entry.name;
        let Some(limits) = image.entries.get(name) else {
            wrong.push(format!("{title}: `{name}` is a new entry point, which has no budget yet"));
            continue;
        };
        for (scope, largest, limit) in [
            ("while the run goes on", &entry.running, limits.running),
            ("with what ends the run", &entry.whole, limits.whole),
        ] {
            let bytes = largest.bytes;
            if bytes > limit {
                let chain = chain(largest);
                let more = bytes - limit;
                wrong.push(format!(
                    "{title}: `{name}` takes {bytes} bytes {scope}, {more} more than its budget of {limit}:\n{chain}"
                ));
            }
            wrong.extend(largest.unbounded.iter().map(|why| format!("{title}: `{name}` is unbounded {scope}: {why}")));
        }
        if let Some(room) = entry.room_bytes.filter(|room| entry.running.bytes > *room) {
            let bytes = entry.running.bytes;
            wrong.push(format!("{title}: `{name}` takes {bytes} bytes, and has {room}:\n{}", chain(&entry.running)));
        }
    }
    let is_there = |name: &&String| report.entries.iter().any(|entry| entry.name == **name);
    let gone = image.entries.keys().filter(|name| !is_there(name));
    wrong.extend(gone.map(|name| format!("{title}: the entry point `{name}` has a budget, and is not there")));
    for unknown in &report.unknown {
        wrong.extend(unknown.what.iter().map(|what| format!("{title}: {}: {what}", unknown.function)));
    }
    let stray = |stray: &String| format!("{title}: the address of {stray} is taken, and no list says who calls it");
    wrong.extend(report.strays.iter().map(stray));
    wrong
}

fn chain(largest: &Largest) -> String {
    let lines: Vec<_> = largest.chain.iter().map(|frame| format!("{:8}  {}", frame.bytes, frame.function)).collect();
    lines.join("\n")
}
