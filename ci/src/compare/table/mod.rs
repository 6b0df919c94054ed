//! The tables: the same rows on the terminal and in the report.

mod columns;
mod group;
mod row;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use super::peers::Peer;
use super::record::Record;
pub use columns::two_or_none;
use columns::{
    ACROSS, ARCH, CACHE, CALLS, CHAIN, Column, DEEP, DEPTH, FORK_JOIN, MEMORY, PAGING, SERVER, USER_STACKS, WORK,
};
use group::{by_setting, title};
use row::{Row, by_machine, by_policy, distinct};

/// How a table is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// With lines, for a terminal.
    Terminal,
    /// As Markdown.
    Markdown,
}

/// Draws the tables of all records: for each setting the memory of the published machines, then the rest, and the peers
/// as references below. Architectures stand side by side.
pub fn draw(records: &[Record], peers: &[Peer], style: Style) -> String {
    let mut text = String::new();
    for group in by_setting(records) {
        text += &format!("{}{}\n\n", if style == Style::Markdown { "## " } else { "" }, title(&group));
        let (memory, work): (Vec<&Record>, Vec<&Record>) =
            group.into_iter().partition(|record| record.setting.machine.is_some());
        if !memory.is_empty() {
            text += &section("Memory of published machines, all threads asleep", style);
            text += &one(MEMORY, 2, &by_machine(memory), Missing::Dash, style);
        }
        if !work.is_empty() {
            text += &draw_work(&by_policy(work), style);
        }
    }
    if records.iter().any(|record| REFERENCES.iter().any(|(_, key)| record.figure(key).is_some())) && !peers.is_empty()
    {
        text += &section("References, not from this run: what others take (tests/baselines/peers.toml)", style);
        text += &references(peers, REFERENCES, style);
    }
    if records.iter().any(|record| record.figure("depth_threads").is_some()) && !peers.is_empty() {
        text += &section("References, not from this run: the same on Linux (tests/baselines/peers.toml)", style);
        text += &references(peers, DEPTH_REFERENCES, style);
    }
    text
}

/// The tables of work. Only the first says what went wrong.
fn draw_work(rows: &[Row<'_>], style: Style) -> String {
    let shows = |columns: &[Column]| rows.iter().any(|row| columns[1..].iter().any(|(_, show)| show(row).is_some()));
    let mut text = String::new();
    if shows(WORK) || !rows.iter().all(Row::is_ok) {
        text += &section("Work in instructions, sizes in bytes (* in the image with the feature audit)", style);
        text += &one(WORK, 1, rows, Missing::NoColumn, style);
    }
    for (title, columns) in [
        ("Page-table writes and TLB invalidations, per switch", PAGING),
        ("The same for wake-ups from one CPU to another, and for moves", ACROSS),
        ("Stack cache, over the whole run of the switches", CACHE),
        ("System calls in instructions, with their page-table writes and TLB invalidations", CALLS),
        ("Kernel stacks of threads in user mode", USER_STACKS),
        ("A server with a thread for each connection: stacks, their caches and page tables", SERVER),
        (
            "Deep sleepers, not all with as much memory: their stacks, with caches and page tables, and who had to wait for frames",
            DEEP,
        ),
        ("A chain of producers and consumers: instructions, writes and invalidations, per item", CHAIN),
        ("Fork and join: instructions, writes and invalidations, per thread", FORK_JOIN),
        ("Deepest use of kernel stacks: threads that used up to so much (in the image with the feature audit)", DEPTH),
    ] {
        // A table that has nothing but policies says nothing.
        if shows(columns) {
            text += &section(title, style);
            text += &one(columns, 1, rows, Missing::NoColumn, style);
        }
    }
    text
}

/// The title of one table.
fn section(title: &str, style: Style) -> String {
    if style == Style::Markdown { format!("### {title}\n\n") } else { format!("{title}\n") }
}

/// What becomes of a column in which nothing stands.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Missing {
    /// It shows dashes.
    Dash,
    /// It is left out: nobody asked for it.
    NoColumn,
}

/// Draws one table, whose first `names` columns are words. What went wrong is a column only when something did.
fn one(columns: &[Column], names: usize, rows: &[Row<'_>], missing: Missing, style: Style) -> String {
    let shown = |(_, show): &&Column| missing == Missing::Dash || rows.iter().any(|row| show(row).is_some());
    let mut columns: Vec<_> = columns.iter().filter(shown).collect();
    let archs = distinct(rows, |row| &row.setting().arch);
    if archs > 1 {
        columns.insert(names, &ARCH);
    }
    let numbers = names + usize::from(archs > 1)..columns.len();
    let all_ok = rows.iter().all(Row::is_ok);
    let one_each = distinct(rows, |row| (&row.setting().policy, &row.setting().arch));
    let several = missing == Missing::NoColumn && rows.len() > one_each;
    let mut heads: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    heads.extend(several.then(|| "workloads".to_owned()));
    heads.extend((!all_ok).then(|| "status".to_owned()));
    let mut cells = Vec::new();
    for row in rows {
        let mut line: Vec<_> = columns.iter().map(|(_, show)| show(row).unwrap_or_else(|| "–".into())).collect();
        line.extend(several.then(|| row.workloads()));
        line.extend((!all_ok).then(|| row.status()));
        cells.push(line);
    }
    grid(&heads, &cells, numbers, style)
}

/// Columns of references: head and key.
type Keys = &'static [(&'static str, &'static str)];

/// What others' work takes.
const REFERENCES: Keys = &[
    ("yield", "yield_insns"),
    ("spawn\n+ join", "spawn_join_insns"),
    ("boot to\nmain", "boot_insns"),
    ("image\nbytes", "image_bytes"),
    ("bytes per\nsleeper", "thread_bytes"),
];

/// How deep others' kernel stacks are used.
const DEPTH_REFERENCES: Keys = &[
    ("threads", "depth_threads"),
    ("up to\n1 KiB", "depth_up_to_1_kib"),
    ("2 KiB", "depth_up_to_2_kib"),
    ("4 KiB", "depth_up_to_4_kib"),
    ("8 KiB", "depth_up_to_8_kib"),
    ("16 KiB", "depth_up_to_16_kib"),
];

/// Draws the figures of the peers that have some of these.
fn references(peers: &[Peer], columns: Keys, style: Style) -> String {
    let mut heads = vec!["reference".to_owned()];
    heads.extend(columns.iter().map(|(head, _)| (*head).to_owned()));
    let figure = |peer: &Peer, key: &str| peer.figures.get(key).map_or("–".into(), |value| two_or_none(*value));
    let row = |peer: &Peer| {
        let figures = columns.iter().map(|(_, key)| figure(peer, key));
        std::iter::once(peer.name.clone()).chain(figures).collect()
    };
    // Some have only figures of another kind; the report names them.
    let has_some = |peer: &&Peer| columns.iter().any(|(_, key)| peer.figures.contains_key(*key));
    let cells: Vec<Vec<String>> = peers.iter().filter(has_some).map(row).collect();
    grid(&heads, &cells, 1..heads.len(), style)
}

/// Draws heads and cells; the columns of `numbers` stand to the right.
pub fn grid(heads: &[String], cells: &[Vec<String>], numbers: std::ops::Range<usize>, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(match style {
        Style::Markdown => ASCII_MARKDOWN,
        Style::Terminal => UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()),
    });
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(|head| match style {
        // A word that is divided for the terminal is one again.
        Style::Markdown => head.replace("-\n", "").replace('\n', " "),
        Style::Terminal => head.clone(),
    }));
    for line in cells {
        table.add_row(line);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if style == Style::Terminal {
            column.set_padding((0, 1));
        }
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if style == Style::Markdown && lines.len() > 1 {
        lines[1] = aligned(&lines[1], &numbers);
    }
    lines.concat() + "\n"
}

/// The line below the heads in Markdown, in which a colon says that a column stands to the right.
fn aligned(line: &str, numbers: &std::ops::Range<usize>) -> String {
    let mut cells: Vec<_> = line.split('|').map(str::to_owned).collect();
    // Before the first cell and behind the last one stands nothing.
    for cell in cells.iter_mut().skip(1 + numbers.start).take(numbers.len()) {
        cell.pop();
        cell.push(':');
    }
    cells.join("|")
}

#[cfg(test)]
mod tests;
