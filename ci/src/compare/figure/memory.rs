//! What the stacks of the published machines save under each policy, beside what the RFC published and what is possible.

use super::bars::{Bars, Group};
use super::source::Source;
use super::{Figure, Picture};

/// Draws the savings on the published machines.
pub fn machines(source: &Source<'_>) -> Option<Figure> {
    let policies = source.policies();
    let groups: Vec<_> = source.machines().into_iter().map(|machine| group(source, &policies, machine)).collect();
    if groups.iter().all(|group| group.bars.iter().all(Option::is_none)) {
        return None;
    }
    let title = "What sleeping threads save: stack pages of the RFC's five machines".to_owned();
    let bars = Bars {
        title: title.clone(),
        axis: "saved against static, %",
        policies: &policies,
        groups,
        marks: ["published by the RFC (growth on faults)", "oracle: only pages with a live byte"],
    };
    Some(Figure {
        name: format!("memory-{}", source.suffix),
        title,
        caption: format!("Higher is better. Stack pages alone, all threads asleep. {}.", source.setting()),
        picture: Picture::draw(|canvas| bars.draw(canvas))?,
    })
}

/// The bars of one published machine.
fn group(source: &Source<'_>, policies: &[&str], machine: &str) -> Group {
    let of = |policy: &&str, key| source.on_machine(policy, machine, key);
    Group {
        name: machine.to_owned(),
        bars: policies.iter().map(|policy| of(policy, "saving_percent")).collect(),
        marks: [
            policies.iter().find_map(|policy| of(policy, "published_saving_percent")),
            policies.iter().find_map(|policy| oracle(source, policy, machine)),
        ],
    }
}

/// What would be saved if only pages with a live byte were there, in percent of what `static` takes.
fn oracle(source: &Source<'_>, policy: &str, machine: &str) -> Option<f64> {
    let of = |key| source.on_machine(policy, machine, key);
    let saved = of("saving_percent")? / 100.0;
    // What `static` takes is what this policy does, without its saving.
    (saved < 1.0).then_some(())?;
    Some(100.0 * (1.0 - of("oracle_kib")? * (1.0 - saved) / of("stack_kib")?))
}
