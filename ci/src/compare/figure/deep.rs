//! Threads that all sleep deep: the memory of their stacks, over time.

use super::Figure;
use super::axis::Scale;
use super::lines::Lines;
use super::server::{figure, kib, lines};
use super::source::Source;

/// Draws memory over time, from when all wait with little on their stacks until all have slept deep.
pub fn sleepers(source: &Source<'_>) -> Option<Figure> {
    let mib = |kib: f64| kib / 1024.0;
    let lines = lines(
        source,
        "deep",
        |point| (point["at_ms"], mib(kib(point))),
        |point| (point["at_ms"], mib(point["oracle_kib"])),
    )?;
    let title = "Memory over time: threads that all go deep and sleep there";
    let axes = ["milliseconds, of the guest's clock", "stacks, their caches and page tables, MiB"];
    let drawn = Lines { title, axes, scale: Scale::Linear, lines, marked: ("", Vec::new()) };
    let what = "A line that is longer is that of a policy whose guest has less memory, where threads wait until others have slept; the \
                oracle's is that of the first policy";
    figure(source, "deep-sleepers", title, what, &drawn)
}
