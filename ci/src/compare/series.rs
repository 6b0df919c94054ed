//! Series: what a guest measured not once but at several points, a line each, before its record line.
//!
//! ```text
//! ebbtide: point series=threads threads=1000 stack_kib=4000 …
//! ```
//!
//! A series has a name, and keys that each of its points has. The first of them is what the points stand at (a number of threads, an
//! instant), and rises from each to the next. As of record lines, nothing is guessed, and nothing filled in.

use std::collections::BTreeMap;

use super::kind::Kind;
use super::line::{self, Figures};

/// How the line of a point begins.
const HEAD: &str = "ebbtide: point ";

/// A series that a kind of workload has: its name, and the keys of its points.
pub type Known = (&'static str, &'static [&'static str]);

/// The points of one run, by the name of the series.
pub type Series = BTreeMap<String, Vec<Figures>>;

/// Finds and reads the points in a guest's output.
///
/// # Errors
///
/// One line that says what is wrong: a point of no series that the kind has, wrong keys or values, points that do not rise, a series with
/// fewer than two.
pub fn read(output: &str, kind: Kind) -> Result<Series, String> {
    let mut series = Series::new();
    for point in output.lines().filter_map(|line| line.trim_end().strip_prefix(HEAD)) {
        let (name, keys, figures) = parse(point, kind)?;
        let points = series.entry(name.to_owned()).or_default();
        let at = keys[0];
        if let Some(last) = points.last().filter(|last| last[at] >= figures[at]) {
            return Err(format!("point line of {name}: {at} must rise, but is {} after {}", figures[at], last[at]));
        }
        points.push(figures);
    }
    let count = |name: &str| series.get(name).map_or(0, Vec::len);
    match kind.series().iter().find(|(name, _)| count(name) < 2) {
        None => Ok(series),
        Some((name, _)) => {
            Err(format!("of the series {name} the guest printed {} points; at least 2 make a line", count(name)))
        }
    }
}

/// Reads what follows the head of a point's line.
fn parse(point: &str, kind: Kind) -> Result<(&'static str, &'static [&'static str], Figures), String> {
    let mut words = point.split(' ');
    let name = words.next().and_then(|word| word.strip_prefix("series="));
    let Some((name, keys)) = kind.series().iter().find(|(known, _)| Some(*known) == name) else {
        let known: Vec<_> = kind.series().iter().map(|(name, _)| format!("series={name}")).collect();
        let known = if known.is_empty() { "no series".to_owned() } else { known.join(" or ") };
        return Err(format!("point line: the kind \"{}\" has {known}, but it is `{point}`", kind.word()));
    };
    Ok((name, keys, line::figures(&format!("point line of {name}"), words, keys, &[])?))
}

/// Says where two runs differ, if they do: in which key of which point, and how.
pub fn difference(first: &Series, again: &Series) -> Option<String> {
    first.iter().find_map(|(name, points)| {
        let others = again.get(name).map_or(&[][..], Vec::as_slice);
        if points.len() != others.len() {
            return Some(format!("{name} had {} points, then {}", points.len(), others.len()));
        }
        points.iter().zip(others).enumerate().find_map(|(number, (point, other))| {
            let (key, value) = point.iter().find(|(key, value)| other.get(*key) != Some(value))?;
            let other = other.get(key).copied().unwrap_or_default();
            Some(format!("{key} of point {} of {name} was {value}, then {other}", number + 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{difference, read};
    use crate::compare::kind::Kind;

    const GOOD: &str = "banner\n\
        ebbtide: point series=threads threads=1 stack_kib=4 cache_kib=0 table_kib=20 oracle_kib=4\r\n\
        ebbtide: point series=threads threads=10 stack_kib=40 cache_kib=0 table_kib=20 oracle_kib=40\n\
        ebbtide: point series=bursts at_ms=0 requests=0 served=0 stack_kib=40 cache_kib=0 table_kib=20 oracle_kib=40\n\
        ebbtide: point series=bursts at_ms=5 requests=9 served=1 stack_kib=60 cache_kib=8 table_kib=20 oracle_kib=50\n";

    #[test]
    fn points_are_read_in_order() {
        let series = read(GOOD, Kind::Server).expect("two series");
        assert_eq!(series.len(), 2);
        assert_eq!(series["threads"].iter().map(|point| point["threads"]).collect::<Vec<_>>(), [1.0, 10.0]);
        assert_eq!((series["bursts"][1]["at_ms"], series["bursts"][1]["stack_kib"]), (5.0, 60.0));
        assert!(read("banner\n", Kind::Boot).expect("no series").is_empty());
    }

    #[test]
    fn wrong_points_are_refused() {
        let without = |word: &str| GOOD.lines().filter(|line| !line.contains(word)).collect::<Vec<_>>().join("\n");
        for (output, part) in [
            (GOOD.replace(" stack_kib=60", ""), "point line of bursts: `stack_kib` is missing"),
            (GOOD.replace("stack_kib=60", "stack_kib=x"), "stack_kib=x is no number"),
            (GOOD.replace("stack_kib=60", "stack_kib"), "`stack_kib` is no key=value"),
            (GOOD.replace("stack_kib=60", "stack_kib=60 stack_kib=60"), "stands there twice"),
            (GOOD.replace("served=1", "answered=1"), "unknown key `answered`"),
            (GOOD.replace("at_ms=5", "at_ms=0"), "at_ms must rise, but is 0 after 0"),
            (GOOD.replace("series=bursts", "series=burst"), "has series=threads or series=bursts, but it is"),
            (GOOD.replace("series=bursts ", ""), "has series=threads or series=bursts, but it is"),
            (without("series=bursts"), "of the series bursts the guest printed 0 points"),
            (without("threads=10 "), "of the series threads the guest printed 1 points"),
        ] {
            let error = read(&output, Kind::Server).expect_err("a point is wrong");
            assert!(error.contains(part) && !error.contains('\n'), "{part}: {error}");
        }
        let error = read(GOOD, Kind::Boot).expect_err("it has no series");
        assert!(error.contains("the kind \"boot\" has no series"), "{error}");
    }

    #[test]
    fn runs_that_differ_in_a_point_are_told_from_each_other() {
        let first = read(GOOD, Kind::Server).expect("two series");
        assert_eq!(difference(&first, &first), None);
        let again = read(&GOOD.replace("stack_kib=60", "stack_kib=64"), Kind::Server).expect("two series");
        assert_eq!(difference(&first, &again).as_deref(), Some("stack_kib of point 2 of bursts was 60, then 64"));
        let longer = GOOD.to_owned() + &GOOD.lines().last().expect("a line").replace("at_ms=5", "at_ms=7");
        let longer = read(&longer, Kind::Server).expect("two series");
        assert_eq!(difference(&first, &longer).as_deref(), Some("bursts had 2 points, then 3"));
    }
}
