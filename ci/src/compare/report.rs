//! The report: the tables, what failed and why, and all that is needed to run it again.

use std::collections::BTreeSet;

use super::figure::Figure;
use super::peers::Peer;
use super::record::Record;
use super::table::{self, Style};
use super::workload::Workload;

/// How the report came about.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The command line that made it.
    pub invocation: String,
    /// Whether each run was made just once.
    pub quick: bool,
    /// The profile of the images.
    pub profile: String,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

/// The failures, one line each; empty when there is none.
pub fn failures(records: &[Record]) -> Vec<String> {
    let failed = records.iter().filter_map(|record| Some((record, record.error.as_ref()?)));
    failed
        .map(|(record, error)| {
            let setting = &record.setting;
            let machine = setting.machine.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
            format!("{}{machine}, {}, {}: {error}", setting.workload, setting.policy, setting.arch)
        })
        .collect()
}

/// Writes the report as Markdown. The figures are files beside it.
pub fn markdown(
    records: &[Record],
    figures: &[Figure],
    workloads: &[Workload],
    peers: &[Peer],
    origin: &Origin,
) -> String {
    let mut text = format!("# What each stack policy takes\n\nMade by `{}`.\n\n", origin.invocation);
    text.extend(figures.iter().map(|figure| {
        let Figure { name, title, caption, .. } = figure;
        format!("![{title}]({name}.svg)\n\n{caption} `{}`\n\n", origin.invocation)
    }));
    text += &table::draw(records, peers, Style::Markdown);
    let failures = failures(records);
    if !failures.is_empty() {
        text += "## What failed\n\n";
        text.extend(failures.iter().map(|line| format!("- {line}\n")));
        text += "\n";
    }
    text + &footnotes(records, workloads, peers, origin)
}

/// What the figures mean and where they come from.
fn footnotes(records: &[Record], workloads: &[Workload], peers: &[Peer], origin: &Origin) -> String {
    let mut text = String::from("## How to read it, and where it comes from\n\n");
    text += "- saving: 100 × (1 − stack KiB / stack KiB of `static` in this same invocation), stack pages alone, as the RFC \
             counted; 75 is what page grain allows. In total: with cache and table KiB on both sides.\n";
    text += "- × oracle: stack and cache KiB over the pages that hold a live byte of a sleeping thread.\n";
    text += "- yield, wake-up: instructions per switch between two threads, the timer armed and 1,000 others asleep; crowded: \
             1,000 others yield as well. Preemption: from the timer interrupt to the other thread's next instruction. \
             Spawn + join: a thread with an empty closure, from the call of spawn to the return of join.\n";
    text += "- Bytes per sleeper: what one more sleeping thread takes, everything counted.\n";
    text += "- Server: what its stacks, their caches and page tables take when all connections are quiet, the most that was seen while \
             bursts of requests came, and long after them.\n";
    text += "- Deep sleepers: what their stacks, caches and page tables take before, at most while they sleep, and after; how often a thread \
             had to wait for frames. Chain: what it takes to hand an item through all threads. Fork and join: what the life of a thread \
             takes that spawns others, goes deep and waits for them.\n";
    text += "- Interrupts off, most: the longest stretch, in instructions, from a second run in an image with the feature \
             `audit`. All other figures come from the images that users get.\n";
    text += "- Percentages are cut after the second decimal, not rounded. A dash is a figure that was not measured.\n";
    let runs =
        if origin.quick { "once (`--quick`)" } else { "as often as its workload says, all runs agreeing to the digit" };
    text += &format!("- Every figure is from a run of this invocation; each run was made {runs}.\n");
    text += &format!("- Images: profile {}. Made: {} seconds after 1970-01-01 UTC.\n", origin.profile, origin.made);
    for workload in workloads {
        text += &format!("- Workload {}: `{}` with `{}`.\n", workload.name(), workload.package(), workload.told());
    }
    for (label, values) in [
        ("Commit", each(records, |record| &record.provenance.commit)),
        ("Compiler", each(records, |record| &record.provenance.rustc)),
        ("Emulator", each(records, |record| &record.provenance.qemu)),
    ] {
        text += &format!("- {label}: {}.\n", values.join("; "));
    }
    text.extend(peers.iter().map(|peer| {
        let also = peer.also.as_ref().map(|also| format!(" ({also})")).unwrap_or_default();
        format!("- Reference {}: {}{also}.\n", peer.name, peer.source)
    }));
    text += "\nThe commands, each run's own:\n\n```text\n";
    text.extend(each(records, |record| &record.command).iter().map(|command| format!("{command}\n")));
    text + "```\n"
}

/// The different values of a key.
fn each<'a>(records: &'a [Record], key: impl Fn(&'a Record) -> &'a String) -> Vec<&'a str> {
    records.iter().map(|record| key(record).as_str()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::{Origin, markdown};
    use crate::compare::peers;
    use crate::compare::record::Status;

    #[test]
    fn the_report_names_failures_and_origin() {
        let mut failed = record("other", Some("A 1"), &[]);
        failed.status = Status::Crashed;
        failed.error = Some("the guest ended without its last line".into());
        failed.provenance.commit = "abc123+changes".into();
        let origin =
            Origin { invocation: "cargo xtask compare".into(), quick: true, profile: "release".into(), made: 0 };
        let text = markdown(&[failed], &[], &[], &peers::tests::shipped(), &origin);
        for part in
            ["CRASHED", "without its last line", "abc123+changes", "`--quick`", "cargo xtask compare", "SOSP 1991"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
