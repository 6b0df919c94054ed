//! Where a figure takes its numbers from: the records of one architecture in one setting.

use super::super::line::Figures;
use super::super::peers::Peer;
use super::super::record::{Record, Status};

/// The policy that all others are measured against.
pub const REFERENCE: &str = "static";

/// The records of one architecture, with one number of CPUs, machine type and CPU model.
#[derive(Debug)]
pub struct Source<'a> {
    records: Vec<&'a Record>,
    /// What others take.
    pub peers: &'a [Peer],
    /// Stands behind the names of the figures' files, so that each setting has its own.
    pub suffix: String,
}

/// The sources, in the order in which their settings first appear.
pub fn of<'a>(records: &'a [Record], peers: &'a [Peer]) -> Vec<Source<'a>> {
    let mut groups: Vec<Vec<&Record>> = Vec::new();
    for record in records {
        match groups.iter_mut().find(|group| key(group[0]) == key(record)) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    let alone = |group: &Vec<&Record>| {
        groups.iter().filter(|other| other[0].setting.arch == group[0].setting.arch).count() == 1
    };
    let suffixes: Vec<String> = groups
        .iter()
        .map(|group| if alone(group) { group[0].setting.arch.clone() } else { long_suffix(group[0]) })
        .collect();
    groups.into_iter().zip(suffixes).map(|(records, suffix)| Source { records, peers, suffix }).collect()
}

/// What the records of a source have in common.
fn key(record: &Record) -> (&str, u8, &str, &str) {
    let setting = &record.setting;
    (&setting.arch, setting.smp, &setting.qemu_machine, &setting.cpu_model)
}

/// A setting among others of its architecture, as part of a file's name.
fn long_suffix(record: &Record) -> String {
    let (arch, smp, machine, cpu) = key(record);
    let plain = |name: &str| name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    format!("{arch}-smp{smp}-{}-{}", plain(machine), plain(cpu))
}

impl Source<'_> {
    /// The setting, in words.
    pub fn setting(&self) -> String {
        let (arch, smp, machine, cpu) = key(self.records[0]);
        let cpus = if smp == 1 { "1 CPU".to_owned() } else { format!("{smp} CPUs") };
        format!("{arch}, {cpus}, QEMU machine {machine}, CPU model {cpu}")
    }

    /// The policies, in the order of the records, the reference first.
    pub fn policies(&self) -> Vec<&str> {
        let mut policies: Vec<&str> = Vec::new();
        for record in &self.records {
            if !policies.contains(&record.setting.policy.as_str()) {
                policies.push(&record.setting.policy);
            }
        }
        policies.sort_by_key(|policy| *policy != REFERENCE);
        policies
    }

    /// The published machines, in the order of the records.
    pub fn machines(&self) -> Vec<&str> {
        let mut machines: Vec<&str> = Vec::new();
        for machine in self.records.iter().filter_map(|record| record.setting.machine.as_deref()) {
            if !machines.contains(&machine) {
                machines.push(machine);
            }
        }
        machines
    }

    /// What was measured of a policy, not on a published machine. A run that failed has measured nothing.
    pub fn figure(&self, policy: &str, key: &str) -> Option<f64> {
        self.find(policy, None, key)
    }

    /// What was measured of a policy on a published machine.
    pub fn on_machine(&self, policy: &str, machine: &str, key: &str) -> Option<f64> {
        self.find(policy, Some(machine), key)
    }

    /// What was measured of a policy at several points.
    pub fn series(&self, policy: &str, name: &str) -> Option<&[Figures]> {
        let fits = |record: &&&Record| record.status == Status::Ok && record.setting.policy == policy;
        let points = self.records.iter().filter(fits).find_map(|record| record.series.get(name))?;
        Some(points)
    }

    fn find(&self, policy: &str, machine: Option<&str>, key: &str) -> Option<f64> {
        let fits = |record: &&&Record| {
            record.status == Status::Ok
                && record.setting.policy == policy
                && record.setting.machine.as_deref() == machine
        };
        self.records.iter().filter(fits).find_map(|record| record.figure(key))
    }

    /// The least saving of a policy on the published machines, in percent; `None` when it is not known of each.
    pub fn least_saving(&self, policy: &str) -> Option<f64> {
        let savings = self.machines().into_iter().map(|machine| self.on_machine(policy, machine, "saving_percent"));
        savings.collect::<Option<Vec<_>>>()?.into_iter().reduce(f64::min)
    }
}
