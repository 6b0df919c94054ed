//! Records: one for each thing that was asked for, also when it failed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;

use super::line::Figures;
use super::series::Series;

/// How a run ended, as scripts read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything was measured.
    Ok,
    /// The guest or its build failed, or its figures cannot be.
    Failed,
    /// No end within the time-out.
    Timeout,
    /// The guest ended without its last line.
    Crashed,
}

/// What was run, where: the keys that every record has.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Setting {
    /// The architecture.
    pub arch: String,
    /// The stack policy.
    pub policy: String,
    /// The number of CPUs.
    pub smp: u8,
    /// The workload's name.
    pub workload: String,
    /// The published machine, if the workload has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// QEMU's machine type, as given.
    pub qemu_machine: String,
    /// QEMU's CPU model, as given.
    pub cpu_model: String,
}

/// Which code and tools made the figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Provenance {
    /// The repository's commit.
    pub commit: String,
    /// The compiler.
    pub rustc: String,
    /// The emulator.
    pub qemu: String,
}

/// One record.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// What was run, where.
    #[serde(flatten)]
    pub setting: Setting,
    /// How it ended.
    pub status: Status,
    /// What went wrong, in one line, when the status is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which code and tools.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// The exact command.
    pub command: String,
    /// What was measured and derived, and nothing else.
    #[serde(flatten, serialize_with = "numbers")]
    pub figures: Figures,
    /// What was measured at several points.
    #[serde(skip_serializing_if = "Series::is_empty", serialize_with = "points")]
    pub series: Series,
}

impl Record {
    /// One figure, if it was measured.
    pub fn figure(&self, key: &str) -> Option<f64> {
        self.figures.get(key).copied()
    }
}

/// Writes whole figures as integers.
fn numbers<S: serde::Serializer>(figures: &Figures, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().map(|(key, value)| (key, number(*value))))
}

/// Writes the points of each series, likewise.
fn points<S: serde::Serializer>(series: &Series, serializer: S) -> Result<S::Ok, S::Error> {
    let whole =
        |point: &Figures| point.iter().map(|(key, value)| (key.clone(), number(*value))).collect::<BTreeMap<_, _>>();
    serializer.collect_map(series.iter().map(|(name, points)| (name, points.iter().map(whole).collect::<Vec<_>>())))
}

/// A JSON number, without a fraction where there is none.
fn number(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// The whole file.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    records: &'a [Record],
}

/// The text of the whole file.
///
/// # Errors
///
/// Never in practice: a figure is always a number.
pub fn text(records: &[Record]) -> anyhow::Result<String> {
    let document = Document { schema: 1, records };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::Value;

    fn parsed(records: &[Record]) -> Value {
        serde_json::from_str(&text(records).expect("text")).expect("JSON")
    }

    /// A record to make tests from.
    pub fn record(policy: &str, machine: Option<&str>, figures: &[(&str, f64)]) -> Record {
        Record {
            setting: Setting {
                arch: "x86_64".into(),
                policy: policy.into(),
                smp: 1,
                workload: if machine.is_some() { "idle-machines" } else { "boot" }.into(),
                machine: machine.map(str::to_owned),
                qemu_machine: "q35".into(),
                cpu_model: "max".into(),
            },
            status: Status::Ok,
            error: None,
            provenance: Provenance::default(),
            command: "qemu".into(),
            figures: figures.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
            series: Series::new(),
        }
    }

    /// A record of a workload without published machines.
    pub fn work(policy: &str, workload: &str, figures: &[(&str, f64)]) -> Record {
        let mut record = record(policy, None, figures);
        record.setting.workload = workload.into();
        record
    }

    #[test]
    fn records_are_flat_and_hold_numbers() {
        let value =
            parsed(&[record("static", Some("AMD Rome 256"), &[("threads", 4908.0), ("saving_percent", 73.42)])]);
        let first = &value["records"][0];
        assert_eq!(value["schema"], 1);
        assert_eq!(first["threads"].to_string(), "4908");
        assert_eq!(first["saving_percent"], 73.42);
        assert_eq!(first["machine"], "AMD Rome 256");
        assert_eq!(first["status"], "ok");
        for key in
            ["arch", "policy", "smp", "workload", "qemu_machine", "cpu_model", "commit", "rustc", "qemu", "command"]
        {
            assert!(!first[key].is_null(), "{key}");
        }
    }

    #[test]
    fn points_are_lists_of_whole_numbers() {
        let mut record = work("static", "server", &[]);
        let point = |threads: f64| [("threads".to_owned(), threads), ("stack_kib".to_owned(), 4.0 * threads)].into();
        record.series.insert("threads".into(), vec![point(1.0), point(10.0)]);
        let value = parsed(&[record]);
        assert_eq!(value["records"][0]["series"]["threads"][1].to_string(), r#"{"stack_kib":40,"threads":10}"#);
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let value = parsed(&[record("static", None, &[])]);
        let keys = value["records"][0].as_object().expect("an object");
        for key in ["machine", "error", "threads", "boot_insns", "series"] {
            assert!(!keys.contains_key(key), "{key}");
        }
    }
}
