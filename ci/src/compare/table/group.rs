//! What stands in one table: records of all policies, published machines and architectures in like settings.

use super::super::record::Record;

/// A like setting on every architecture: number of CPUs, CPU model, and which of its architecture's machine types. These
/// have other names on another architecture, so it is their order that counts.
type Key<'a> = (u8, &'a str, usize);

/// The records of each setting, in order.
pub fn by_setting(records: &[Record]) -> Vec<Vec<&Record>> {
    let mut groups: Vec<(Key<'_>, Vec<&Record>)> = Vec::new();
    for record in records {
        let key = key(record, records);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(record),
            None => groups.push((key, vec![record])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn key<'a>(record: &'a Record, records: &[Record]) -> Key<'a> {
    let setting = &record.setting;
    let mut machines: Vec<&str> = Vec::new();
    for other in records.iter().map(|record| &record.setting).filter(|other| other.arch == setting.arch) {
        if !machines.contains(&other.qemu_machine.as_str()) {
            machines.push(&other.qemu_machine);
        }
    }
    let rank = machines.iter().position(|machine| *machine == setting.qemu_machine);
    (setting.smp, &setting.cpu_model, rank.unwrap_or(0))
}

/// Where the figures of a group come from: `x86_64, 1 CPU, QEMU machine q35, CPU model max`.
pub fn title(group: &[&Record]) -> String {
    let Some(first) = group.first().map(|record| &record.setting) else { return String::new() };
    let mut machines: Vec<(&str, &str)> = Vec::new();
    for setting in group.iter().map(|record| &record.setting) {
        if !machines.contains(&(&setting.arch, &setting.qemu_machine)) {
            machines.push((&setting.arch, &setting.qemu_machine));
        }
    }
    let list = |one: fn(&(&str, &str)) -> String| machines.iter().map(one).collect::<Vec<_>>().join(" and ");
    let machine = if machines.len() == 1 { "machine" } else { "machines" };
    let cpus = if first.smp == 1 { "1 CPU".into() } else { format!("{} CPUs", first.smp) };
    format!(
        "{}, {cpus}, QEMU {machine} {}, CPU model {}",
        list(|(arch, _)| (*arch).to_owned()),
        list(|(_, machine)| (*machine).to_owned()),
        first.cpu_model
    )
}
