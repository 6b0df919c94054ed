//! What work takes under each policy, in multiples of what it takes where the policy does nothing.

use super::bars::{Bars, Group};
use super::source::{REFERENCE, Source};
use super::{Figure, Picture};

/// What is shown: keys, and what stands below.
const OPERATIONS: &[(&str, &str)] = &[
    ("yield_insns", "yield"),
    ("wake_insns", "wake-up"),
    ("preempt_insns", "preemption"),
    ("spawn_join_insns", "spawn + join"),
    ("syscall_insns", "null call"),
    ("syscall_sleep_insns", "call that sleeps"),
    ("user_preempt_insns", "user preemption"),
    ("chain_item_insns", "item of a chain"),
    ("fork_thread_insns", "forked thread"),
];

/// Draws the instructions of each operation against those under `static`.
pub fn against_static(source: &Source<'_>) -> Option<Figure> {
    let policies = source.policies();
    let groups: Vec<_> = OPERATIONS.iter().filter_map(|(key, name)| group(source, &policies, key, name)).collect();
    // By itself the reference says nothing.
    if groups.is_empty() || policies.len() < 2 {
        return None;
    }
    let title = "What work takes: instructions, as a multiple of static's".to_owned();
    let bars =
        Bars { title: title.clone(), axis: "instructions, static = 1", policies: &policies, groups, marks: [""; 2] };
    Some(Figure {
        name: format!("work-{}", source.suffix),
        title,
        caption: format!("Lower is better. The tables have the numbers themselves. {}.", source.setting()),
        picture: Picture::draw(|canvas| bars.draw(canvas))?,
    })
}

/// The bars of one operation; `None` if it was not measured under the reference.
fn group(source: &Source<'_>, policies: &[&str], key: &str, name: &str) -> Option<Group> {
    let reference = source.figure(REFERENCE, key)?;
    Some(Group {
        name: name.to_owned(),
        bars: policies.iter().map(|policy| Some(source.figure(policy, key)? / reference)).collect(),
        marks: [None; 2],
    })
}
