//! A server with a thread for each connection: the memory of its stacks by the number of connections, and over time.

use super::axis::Scale;
use super::canvas::{INK, colour};
use super::lines::{Line, Lines};
use super::source::Source;
use super::{Figure, Picture};
use crate::compare::line::Figures;

/// Name of the line that shows what is live.
const ORACLE: &str = "oracle";

/// What all that belongs to stacks takes, in KiB.
pub(super) fn kib(point: &Figures) -> f64 {
    ["stack_kib", "cache_kib", "table_kib"].iter().filter_map(|key| point.get(*key)).sum()
}

/// Draws memory against the number of threads.
pub fn threads(source: &Source<'_>) -> Option<Figure> {
    let lines = lines(
        source,
        "threads",
        |point| (point["threads"], kib(point)),
        |point| (point["threads"], point["oracle_kib"]),
    )?;
    let title = "Memory against threads: a server whose connections are all quiet";
    let axes = ["threads, one for each connection", "stacks, their caches and page tables, KiB"];
    let drawn = Lines { title, axes, scale: Scale::Log, lines, marked: ("", Vec::new()) };
    figure(source, "server-threads", title, "All threads asleep, the CPUs idle since", &drawn)
}

/// Draws memory over time, while bursts of requests come.
pub fn bursts(source: &Source<'_>) -> Option<Figure> {
    let mib = |kib: f64| kib / 1024.0;
    let lines = lines(
        source,
        "bursts",
        |point| (point["at_ms"], mib(kib(point))),
        |point| (point["at_ms"], mib(point["oracle_kib"])),
    )?;
    let marked = source.policies().iter().find_map(|policy| source.series(policy, "bursts")).map(arrivals)?;
    let title = "Memory over time: bursts of requests, in which threads go deep and sleep again";
    let axes = ["milliseconds, of the guest's clock", "stacks, their caches and page tables, MiB"];
    let drawn = Lines { title, axes, scale: Scale::Linear, lines, marked: ("requests arrive", marked) };
    figure(source, "server-bursts", title, "Each request waits where its thread is deepest", &drawn)
}

/// Makes a figure of lines for policies and of one for what is live.
pub(super) fn figure(source: &Source<'_>, name: &str, title: &str, what: &str, lines: &Lines<'_>) -> Option<Figure> {
    Some(Figure {
        name: format!("{name}-{}", source.suffix),
        title: title.to_owned(),
        caption: format!(
            "Lower is better. {what}. Lines that run on top of each other take turns. Oracle: pages with a live byte of a \
             sleeping thread, without caches and tables. {}.",
            source.setting()
        ),
        picture: Picture::draw(|canvas| lines.draw(canvas))?,
    })
}

/// A line for each policy of which the series is known, and one for what is live.
pub(super) fn lines(
    source: &Source<'_>,
    series: &str,
    point: impl Fn(&Figures) -> (f64, f64),
    live: impl Fn(&Figures) -> (f64, f64),
) -> Option<Vec<Line>> {
    let policies = source.policies();
    let known =
        || policies.iter().enumerate().filter_map(|(place, policy)| Some((place, source.series(policy, series)?)));
    let line = |name: &str, colour, points| Line { name: name.to_owned(), colour, points };
    let mut lines: Vec<_> = known()
        .map(|(place, points)| line(policies[place], colour(place), points.iter().map(&point).collect()))
        .collect();
    // Where threads stand is the workload's, and no policy's.
    let (_, points) = known().next()?;
    lines.push(line(ORACLE, INK, points.iter().map(live).collect()));
    Some(lines)
}

/// From when to when requests arrived.
fn arrivals(points: &[Figures]) -> Vec<[f64; 2]> {
    let mut bursts: Vec<[f64; 2]> = Vec::new();
    for pair in points.windows(2).filter(|pair| pair[1]["requests"] > pair[0]["requests"]) {
        let [from, to] = [pair[0]["at_ms"], pair[1]["at_ms"]];
        match bursts.last_mut().filter(|burst| burst[1] == from) {
            Some(burst) => burst[1] = to,
            None => bursts.push([from, to]),
        }
    }
    bursts
}

#[cfg(test)]
mod tests {
    use super::arrivals;
    use crate::compare::line::Figures;

    #[test]
    fn bursts_are_found_where_requests_arrive() {
        let points: Vec<Figures> = [0, 0, 5, 9, 9, 9, 12]
            .into_iter()
            .enumerate()
            .map(|(at, requests)| [("at_ms".into(), at as f64), ("requests".into(), f64::from(requests))].into())
            .collect();
        assert_eq!(arrivals(&points), [[1.0, 3.0], [5.0, 6.0]]);
        assert!(arrivals(&points[..2]).is_empty());
    }
}
