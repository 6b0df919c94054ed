//! Rows: a record of its own for each published machine, else all that was measured under a policy.

use std::collections::BTreeSet;

use super::super::record::{Record, Setting, Status};

/// What a row shows.
pub struct Row<'a>(Vec<&'a Record>);

impl<'a> Row<'a> {
    /// The row of one record.
    pub fn of(record: &'a Record) -> Self {
        Self(vec![record])
    }

    /// Where the row's first record was made.
    pub fn setting(&self) -> &Setting {
        &self.0[0].setting
    }

    /// The names of the row's workloads.
    pub fn workloads(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|record| record.setting.workload.as_str()).collect();
        names.join(", ")
    }

    /// A figure, if one of the row's records has it.
    pub fn figure(&self, key: &str) -> Option<f64> {
        self.0.iter().find_map(|record| record.figure(key))
    }

    /// What went wrong, as it stands in a cell; the reasons follow below the tables.
    pub fn status(&self) -> String {
        let unwell: Vec<_> = self.0.iter().filter(|record| record.status != Status::Ok).collect();
        let word = |record: &&&Record| match (record.status.word(), self.0.len()) {
            (word, 1) => word.to_owned(),
            (word, _) => format!("{} {word}", record.setting.workload),
        };
        if unwell.is_empty() { "ok".into() } else { unwell.iter().map(word).collect::<Vec<_>>().join(", ") }
    }

    /// Whether all of its records are ok.
    pub fn is_ok(&self) -> bool {
        self.0.iter().all(|record| record.status == Status::Ok)
    }

    /// Whether a record can stand here too: of the same policy and architecture, of another workload, and with nothing
    /// that is already shown.
    fn has_room_for(&self, record: &Record) -> bool {
        let (a, b) = (self.setting(), &record.setting);
        (&a.policy, &a.arch) == (&b.policy, &b.arch)
            && self.0.iter().all(|one| one.setting.workload != record.setting.workload)
            && record.figures.keys().all(|key| self.figure(key).is_none())
    }
}

impl Status {
    /// What it looks like: failures stand out.
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Timeout => "TIME-OUT",
            Self::Crashed => "CRASHED",
        }
    }
}

/// The rows of published machines: for each, in the order of the records, the policies side by side, and of each policy the
/// architectures.
pub fn by_machine(mut records: Vec<&Record>) -> Vec<Row<'_>> {
    sort(&mut records, |record| (&record.setting.workload, &record.setting.machine, &record.setting.policy));
    sort(&mut records, |record| (&record.setting.workload, &record.setting.machine));
    records.into_iter().map(Row::of).collect()
}

/// A row for each policy and architecture; more where a workload of one's own measures the same once more.
pub fn by_policy(mut records: Vec<&Record>) -> Vec<Row<'_>> {
    sort(&mut records, |record| &record.setting.policy);
    let mut rows: Vec<Row<'_>> = Vec::new();
    for record in records {
        match rows.iter_mut().find(|row| row.has_room_for(record)) {
            Some(row) => row.0.push(record),
            None => rows.push(Row::of(record)),
        }
    }
    rows
}

/// Brings records with the same key together, in the order in which the keys first appear.
fn sort<'a, K: Eq>(records: &mut [&'a Record], key: impl Fn(&'a Record) -> K) {
    let mut order: Vec<K> = Vec::new();
    for record in records.iter() {
        let key = key(record);
        if !order.contains(&key) {
            order.push(key);
        }
    }
    records.sort_by_key(|record| order.iter().position(|known| *known == key(record)));
}

/// How many different values rows have.
pub fn distinct<'a, K: Ord>(rows: &'a [Row<'a>], value: impl Fn(&'a Row<'a>) -> K) -> usize {
    rows.iter().map(value).collect::<BTreeSet<_>>().len()
}
