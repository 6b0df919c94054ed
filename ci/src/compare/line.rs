//! The guest's record line: one line, exactly the keys that are measured, numbers only.
//!
//! ```text
//! ebbtide: record workload=idle-machines threads=5786 stack_kib=23144 …
//! ```
//!
//! The word after `workload=` is the workload's kind. A guest that prints anything else has not measured: no key is
//! guessed, none is filled in.

use std::collections::BTreeMap;

use super::kind::Kind;

/// How a record line begins.
const HEAD: &str = "ebbtide: record ";

/// How the keys of means end.
pub const MEANS: &[&str] = &["_insns", "_per_switch", "_per_call", "_per_item", "_per_thread"];

/// The figures of one run, by key.
pub type Figures = BTreeMap<String, f64>;

/// Finds and reads the one record line of a guest's output, which has just these keys.
///
/// # Errors
///
/// One line that says what is wrong: no record, two records, another workload's, or wrong keys or values.
pub fn read(output: &str, kind: Kind, keys: &[&str]) -> Result<Figures, String> {
    let mut records = output.lines().filter_map(|line| line.trim_end().strip_prefix(HEAD));
    let Some(record) = records.next() else {
        return Err("the guest printed no record line".into());
    };
    if records.next().is_some() {
        return Err("the guest printed more than one record line".into());
    }
    parse(record, kind.word(), keys, kind.keys_of_some_policies())
}

/// Reads what follows the head of a record line.
fn parse(record: &str, workload: &str, keys: &[&str], optional: &[&str]) -> Result<Figures, String> {
    let mut words = record.split(' ');
    if words.next().and_then(|word| word.strip_prefix("workload=")) != Some(workload) {
        return Err(format!("record line: it must begin with workload={workload}, but is `{record}`"));
    }
    figures("record line", words, keys, optional)
}

/// Reads the `key=value` of a line, which must be just these keys, but that the optional ones may be missing.
///
/// # Errors
///
/// One line that begins with `what`, and says what is wrong.
pub fn figures<'a>(
    what: &str,
    words: impl Iterator<Item = &'a str>,
    keys: &[&str],
    optional: &[&str],
) -> Result<Figures, String> {
    let mut figures = Figures::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{what}: `{word}` is no key=value"))?;
        if !keys.contains(&key) && !optional.contains(&key) {
            return Err(format!("{what}: unknown key `{key}`; known: {}", keys.join(", ")));
        }
        let number = number(key, value).ok_or_else(|| format!("{what}: {key}={value} is no number"))?;
        if figures.insert(key.to_owned(), number).is_some() {
            return Err(format!("{what}: `{key}` stands there twice"));
        }
    }
    match keys.iter().find(|key| !figures.contains_key(**key)) {
        Some(missing) => Err(format!("{what}: `{missing}` is missing")),
        None => Ok(figures),
    }
}

/// Reads a number: an integer, or for means up to two decimals.
fn number(key: &str, value: &str) -> Option<f64> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mean = MEANS.iter().any(|end| key.ends_with(end)) && decimals.len() <= 2;
    let fine = digits(whole) && whole.len() <= 15 && digits(decimals) && (mean || !value.contains('.'));
    if fine { value.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::compare::kind::Kind;

    const GOOD: &str = "ebbtide: record workload=idle-machines threads=10 stack_kib=40 cache_kib=4 table_kib=8 \
                        system_kib=64 oracle_kib=40 stack_faults=0 pages_reclaimed=30";

    fn refusal(line: &str) -> String {
        let kind = Kind::IdleMachines;
        read(&format!("banner\n{line}\r\nebbtide: end code=0 reason=main\n"), kind, kind.keys())
            .expect_err("the line is wrong")
    }

    #[test]
    fn a_whole_line_is_read() {
        let kind = Kind::IdleMachines;
        let figures = read(&format!("banner\n{GOOD}\r\n"), kind, kind.keys()).expect("a record");
        assert_eq!(figures["threads"], 10.0);
        assert_eq!(figures.len(), 8);
        let boot = "ebbtide: record workload=boot boot_insns=812345.25\n";
        let boot = read(boot, Kind::Boot, Kind::Boot.keys()).expect("a record");
        assert_eq!(boot["boot_insns"], 812_345.25);
    }

    #[test]
    fn means_have_two_decimals_and_counts_none() {
        let one = |key: &str, value: &str| {
            let line = format!("ebbtide: record workload=switch {key}={value}\n");
            read(&line, Kind::Switch, &[key]).is_ok()
        };
        assert!(one("yield_insns", "82.51") && one("tlb_local_per_switch", "0.00") && one("refills", "7"));
        assert!(!one("yield_insns", "82.511") && !one("tlb_local_per_switch", "0.001") && !one("refills", "7.5"));
    }

    #[test]
    fn wrong_lines_are_refused() {
        for (line, part) in [
            ("no record here".to_owned(), "no record line"),
            (format!("{GOOD}\n{GOOD}"), "more than one"),
            (GOOD.replace("=idle-machines", "=boot"), "must begin with"),
            (format!("{GOOD} threads=10"), "twice"),
            (GOOD.replace(" cache_kib=4", ""), "`cache_kib` is missing"),
            (GOOD.replace("cache_kib=4", "cache_kib=four"), "no number"),
            (GOOD.replace("cache_kib=4", "cache_kib=-4"), "no number"),
            (GOOD.replace("cache_kib=4", "cache_kib=4.5"), "no number"),
            (GOOD.replace("cache_kib=4", "cache_kib="), "no number"),
            (GOOD.replace("cache_kib=4", "cache_kib=+4"), "no number"),
            (GOOD.replace("cache_kib=4", "cache_kib=inf"), "no number"),
            (format!("{GOOD} more=1"), "unknown key"),
            (format!("{GOOD} more"), "no key=value"),
            (GOOD.replace("ebbtide: record", "x ebbtide: record"), "no record line"),
        ] {
            assert!(refusal(&line).contains(part), "{line}: {}", refusal(&line));
        }
    }
}
