//! The tables: the same rows on the terminal and in the report.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use super::record::{Record, Status};

/// A column: its head, and what it shows of a record.
type Column = (&'static str, fn(&Record) -> Option<String>);

/// The columns of the workloads that replay published machines.
const MEMORY: &[Column] = &[
    ("published\nmachine", |record| record.setting.machine.clone()),
    ("policy", |record| Some(record.setting.policy.clone())),
    ("stack\nKiB", |record| whole(record, "stack_kib")),
    ("cache\nKiB", |record| whole(record, "cache_kib")),
    ("table\nKiB", |record| whole(record, "table_kib")),
    ("system\nKiB", |record| whole(record, "system_kib")),
    ("saving\n%", |record| decimals(record, "saving_percent", 2)),
    ("RFC's\n%", |record| decimals(record, "published_saving_percent", 2)),
    ("total\n%", |record| decimals(record, "saving_total_percent", 2)),
    ("×\noracle", |record| decimals(record, "oracle_ratio", 3)),
    ("pages\nreclaimed", |record| whole(record, "pages_reclaimed")),
    ("stack\nfaults", |record| whole(record, "stack_faults")),
];

/// The columns of the other workloads: what they measure.
const WORK: &[Column] = &[
    ("workload", |record| Some(record.setting.workload.clone())),
    ("policy", |record| Some(record.setting.policy.clone())),
    ("instructions to main", |record| decimals_or_whole(record, "boot_insns")),
    ("image bytes", |record| whole(record, "image_bytes")),
];

/// How a table is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// With lines, for a terminal.
    Terminal,
    /// As Markdown.
    Markdown,
}

/// Draws the tables of all records: for each setting the memory of the published machines, then the rest.
pub fn draw(records: &[Record], style: Style) -> String {
    let mut text = String::new();
    for title in titles(records) {
        let these: Vec<_> = records.iter().filter(|record| title_of(record) == title).collect();
        let (memory, work): (Vec<&Record>, Vec<&Record>) =
            these.into_iter().partition(|record| record.setting.machine.is_some());
        let head = if style == Style::Markdown { format!("## {title}") } else { title };
        text += &format!("{head}\n");
        for (columns, records) in [(MEMORY, sorted(memory)), (WORK, work)] {
            if !records.is_empty() {
                text += &format!("\n{}\n", one(columns, &records, style));
            }
        }
        text += "\n";
    }
    text
}

/// The settings that differ in more than policy and published machine, in order, as titles.
fn titles(records: &[Record]) -> Vec<String> {
    let mut titles: Vec<String> = Vec::new();
    for record in records {
        let title = title_of(record);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
}

/// Where a record's figures come from.
fn title_of(record: &Record) -> String {
    let setting = &record.setting;
    let cpus = if setting.smp == 1 { "1 CPU".into() } else { format!("{} CPUs", setting.smp) };
    format!("{}, {cpus}, QEMU machine {}, CPU model {}", setting.arch, setting.qemu_machine, setting.cpu_model)
}

/// Puts the policies of one published machine side by side, machines in the order of the records.
fn sorted(mut records: Vec<&Record>) -> Vec<&Record> {
    let mut order: Vec<_> = Vec::new();
    for record in &records {
        let key = (record.setting.workload.clone(), record.setting.machine.clone());
        if !order.contains(&key) {
            order.push(key);
        }
    }
    records.sort_by_key(|record| {
        let key = (record.setting.workload.clone(), record.setting.machine.clone());
        order.iter().position(|known| *known == key)
    });
    records
}

/// Draws one table; whether all went well is a column only when it did not.
fn one(columns: &[Column], records: &[&Record], style: Style) -> Table {
    let all_ok = records.iter().all(|record| record.status == Status::Ok);
    let mut table = Table::new();
    table.load_style(match style {
        Style::Markdown => ASCII_MARKDOWN,
        Style::Terminal => UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()),
    });
    table.set_content_arrangement(ContentArrangement::Disabled);
    let head = |(head, _): &Column| match style {
        Style::Markdown => head.replace('\n', " "),
        Style::Terminal => (*head).to_owned(),
    };
    let status_head = (!all_ok).then(|| "status".to_owned());
    table.set_header(columns.iter().map(head).chain(status_head));
    for record in records {
        let cells = columns.iter().map(|(_, show)| show(record).unwrap_or_else(|| "–".into()));
        table.add_row(cells.chain((!all_ok).then(|| status(record))));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if style == Style::Terminal {
            column.set_padding((0, 1));
        }
        if (2..columns.len()).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What a record's status looks like: failures stand out, their reasons follow below the tables.
fn status(record: &Record) -> String {
    match record.status {
        Status::Ok => "ok",
        Status::Failed => "FAILED",
        Status::Timeout => "TIME-OUT",
        Status::Crashed => "CRASHED",
    }
    .into()
}

/// A figure without decimals.
fn whole(record: &Record, key: &str) -> Option<String> {
    decimals(record, key, 0)
}

/// A figure with a number of decimals, cut and not rounded: 74.999 is not 75.00.
fn decimals(record: &Record, key: &str, digits: usize) -> Option<String> {
    let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
    // The small amount keeps a value that has just these decimals from losing the last one.
    record.figure(key).map(|value| format!("{:.digits$}", (value * scale + 1e-6).floor() / scale))
}

/// A figure with two decimals if it has any.
fn decimals_or_whole(record: &Record, key: &str) -> Option<String> {
    let fraction = record.figure(key)?.fract() != 0.0;
    decimals(record, key, if fraction { 2 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::{Style, draw};
    use crate::compare::record::Status;

    #[test]
    fn policies_stand_side_by_side_and_failures_stand_out() {
        let mut failed = record("static", Some("B 2"), &[]);
        failed.status = Status::Timeout;
        let records = [
            record("static", Some("A 1"), &[("threads", 10.0), ("saving_percent", 74.999), ("oracle_ratio", 1.0)]),
            failed,
            record("other", Some("A 1"), &[("saving_percent", 72.83)]),
            record("other", Some("B 2"), &[]),
            record("other", None, &[("boot_insns", 812_345.25), ("image_bytes", 150_000.0)]),
        ];
        let text = draw(&records, Style::Markdown);
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| A") || line.starts_with("| B")).collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[0].contains("static") && rows[0].contains("74.99") && rows[0].contains("1.000"), "{text}");
        assert!(rows[1].contains("other") && rows[1].contains("72.83"), "{text}");
        assert!(rows[2].contains("TIME-OUT") && rows[2].contains('–'), "{text}");
        assert!(text.contains("812345.25") && text.contains("150000"), "{text}");
        assert!(text.starts_with("## x86_64, 1 CPU, QEMU machine q35, CPU model max\n"), "{text}");
    }
}
