//! How deep threads go on their kernel stacks, in Linux's buckets, beside what was published of Linux.

use super::bars::{Bars, Group};
use super::source::Source;
use super::{Figure, Picture};

/// The buckets: keys, and what stands below.
const BUCKETS: &[(&str, &str)] = &[
    ("depth_up_to_1_kib", "up to 1 KiB"),
    ("depth_up_to_2_kib", "2 KiB"),
    ("depth_up_to_4_kib", "4 KiB"),
    ("depth_up_to_8_kib", "8 KiB"),
    ("depth_up_to_16_kib", "16 KiB"),
    ("depth_up_to_32_kib", "32 KiB"),
    ("depth_up_to_64_kib", "64 KiB"),
    ("depth_above_64_kib", "above"),
];

/// How many threads there were in all buckets.
const ALL: &str = "depth_threads";

/// Draws the histogram of the deepest use of stacks.
pub fn histogram(source: &Source<'_>) -> Option<Figure> {
    let policies = source.policies();
    policies.iter().find_map(|policy| source.figure(policy, ALL))?;
    // There are two marks, and two were published.
    let published: Vec<_> = source.peers.iter().filter(|peer| peer.figures.contains_key(ALL)).take(2).collect();
    let of_peer = |place: usize, key: &str| {
        let figures = &published.get(place)?.figures;
        Some(percent(*figures.get(key)?, *figures.get(ALL)?))
    };
    let mut groups: Vec<_> = BUCKETS
        .iter()
        .map(|(key, name)| Group {
            name: (*name).to_owned(),
            bars: policies
                .iter()
                .map(|policy| Some(percent(source.figure(policy, key)?, source.figure(policy, ALL)?)))
                .collect(),
            marks: [of_peer(0, key), of_peer(1, key)],
        })
        .collect();
    // Behind the last bucket in which there is anybody, nothing is to be seen.
    while groups.last().is_some_and(|group| group.bars.iter().chain(&group.marks).flatten().all(|share| *share == 0.0))
    {
        groups.pop();
    }
    let names: Vec<_> = published.iter().map(|peer| format!("{} (published)", peer.name)).collect();
    let name = |place: usize| names.get(place).map_or("", String::as_str);
    let title = "How deep threads go on their kernel stacks".to_owned();
    let bars = Bars {
        title: title.clone(),
        axis: "threads whose deepest use is in the bucket, % of all",
        policies: &policies,
        groups,
        marks: [name(0), name(1)],
    };
    Some(Figure {
        name: format!("depth-{}", source.suffix),
        title,
        caption: format!(
            "Further left is better. In the images with the feature audit, as seen at switches, traps and system calls. {}.",
            source.setting()
        ),
        picture: Picture::draw(|canvas| bars.draw(canvas))?,
    })
}

fn percent(part: f64, all: f64) -> f64 {
    100.0 * part / all
}
