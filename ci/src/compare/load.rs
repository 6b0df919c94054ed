//! The table `[load]` of a workload file: what the threads of some kinds of workload are made to do, key by key.
//!
//! The guest gets it as words, `workload=chain threads=8 …`, and checks once more what it needs.

use std::collections::BTreeMap;

use toml::{Spanned, Value};

use super::kind::Kind;
use super::workload::Wrong;

/// The table as it stands in the file.
pub type Load = Spanned<BTreeMap<Spanned<String>, Spanned<Value>>>;

/// The longest time that a guest is made to wait for something, in milliseconds.
const LONGEST_MS: i64 = 3_600_000;

/// The longest time that one of many sleeps, likewise.
const LONGEST_SLEEP_MS: i64 = 60_000;

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// A number from the one to the other.
    Number(i64, i64),
    /// Numbers from 1 to this, each greater than the last.
    Rising(i64),
    /// A number from 1 to this, or text with two of them.
    Span(i64),
    /// How deep threads go.
    Depths,
    /// Who wakes whom.
    Wakes,
}

/// A key, and what may stand behind it.
type Key = (&'static str, Form);

/// Deeper than this in KiB no thread can go: a stack has 16, and what is above and below takes some.
const DEEPEST_KIB: i64 = 12;

const SEED: Key = ("seed", Form::Number(1, i64::MAX));

/// The keys of a kind of workload, all of which it needs; none where it has no such table.
fn keys(kind: Kind) -> &'static [Key] {
    match kind {
        Kind::Server => &[
            ("steps", Form::Rising(LONGEST_MS)),
            ("bursts_ms", Form::Rising(LONGEST_MS)),
            ("requests", Form::Number(1, 1_000_000)),
            ("gap_us", Form::Number(1, 1_000_000)),
            ("depths", Form::Depths),
            ("wait_ms", Form::Number(1, LONGEST_MS)),
            ("every_ms", Form::Number(1, LONGEST_MS)),
            ("looks", Form::Number(1, 10_000)),
            SEED,
        ],
        Kind::Chain => &[
            ("threads", Form::Number(3, 1_000)),
            ("wakes", Form::Wakes),
            ("items", Form::Number(1, 10_000_000)),
            ("ahead", Form::Number(1, 1_000)),
            ("depths", Form::Depths),
            SEED,
        ],
        Kind::DeepSleepers => &[
            ("threads", Form::Number(1, 100_000)),
            ("user_percent", Form::Number(0, 100)),
            ("rounds", Form::Number(1, 1_000_000)),
            ("depths", Form::Depths),
            ("pause_ms", Form::Span(LONGEST_SLEEP_MS)),
            ("sleep_ms", Form::Span(LONGEST_SLEEP_MS)),
            ("every_ms", Form::Number(1, LONGEST_SLEEP_MS)),
            SEED,
        ],
        Kind::ForkJoin => &[
            ("width", Form::Number(1, 1_000)),
            ("levels", Form::Number(1, 16)),
            ("rounds", Form::Number(1, 1_000_000)),
            ("depths", Form::Depths),
            SEED,
        ],
        _ => &[],
    }
}

/// The guest's words for a table; a kind that has none gets no words.
///
/// # Errors
///
/// A key is unknown, missing or wrong: where, and what is allowed.
pub fn words(kind: Kind, load: Option<&Load>) -> Result<Vec<String>, Wrong> {
    let (known, Some(load)) = (keys(kind), load) else { return Ok(Vec::new()) };
    if known.is_empty() {
        let wrong = format!("[load] is not for the kind \"{}\", whose guest is told by `args`", kind.word());
        return Err((load.span().start, wrong));
    }
    let table = load.get_ref();
    if let Some(other) = table.keys().find(|key| !known.iter().any(|(name, _)| *name == key.get_ref())) {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let wrong = format!("`load.{}`: no such key; known: {}", other.get_ref(), names.join(", "));
        return Err((other.span().start, wrong));
    }
    let mut words = vec![format!("workload={}", kind.word())];
    for (name, form) in known {
        let found = table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value);
        let value = found.ok_or_else(|| (load.span().start, format!("[load] lacks `{name}`: {}", form.allowed())))?;
        let word = form.word(value.get_ref()).ok_or_else(|| {
            (value.span().start, format!("`load.{name}` is {}; allowed: {}", value.get_ref(), form.allowed()))
        })?;
        words.push(format!("{name}={word}"));
    }
    check_wakes(table).map(|()| words)
}

/// Checks that whoever wakes or is woken is one of the threads.
fn check_wakes(table: &BTreeMap<Spanned<String>, Spanned<Value>>) -> Result<(), Wrong> {
    let value = |name: &str| table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value);
    let (Some(wakes), Some(threads)) =
        (value("wakes"), value("threads").and_then(|threads| threads.get_ref().as_integer()))
    else {
        return Ok(());
    };
    let pairs = wakes.get_ref().as_str().unwrap_or_default().split(',').filter_map(|one| pair(one, '-'));
    match pairs.flat_map(|(from, to)| [from, to]).find(|thread| *thread >= threads) {
        None => Ok(()),
        Some(thread) => {
            let wrong = format!(
                "`load.wakes` names the thread {thread}; of {threads} `threads` there are 0 to {}",
                threads - 1
            );
            Err((wakes.span().start, wrong))
        }
    }
}

/// Whether a kind has a table.
pub fn is_for(kind: Kind) -> bool {
    !keys(kind).is_empty()
}

impl Form {
    /// What may stand there.
    fn allowed(self) -> String {
        match self {
            Self::Number(least, i64::MAX) => format!("a number from {least}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Rising(most) => format!("a list of numbers from 1 to {most}, each greater than the last"),
            Self::Span(most) => format!("a number from 1 to {most}, or two as \"20-60\", the smaller one first"),
            Self::Depths => format!("pairs as \"2:50,8:10\", a depth of 1 to {DEEPEST_KIB} KiB and its share, from 1"),
            Self::Wakes => {
                "\"line\", \"ring\", \"fan\", \"gather\", or pairs as \"0-1,1-2\", who wakes and who is woken".into()
            }
        }
    }

    /// What the guest is told, if it may stand there.
    fn word(self, value: &Value) -> Option<String> {
        match (self, value) {
            (Self::Number(least, most), Value::Integer(number)) => {
                (least..=most).contains(number).then(|| number.to_string())
            }
            (Self::Span(most), Value::Integer(number)) => (1..=most).contains(number).then(|| number.to_string()),
            (Self::Span(most), Value::String(text)) => {
                let (from, to) = pair(text, '-')?;
                ((1..=to).contains(&from) && to <= most).then(|| text.clone())
            }
            (Self::Rising(most), Value::Array(values)) => {
                let numbers = values.iter().map(Value::as_integer).collect::<Option<Vec<_>>>()?;
                let rises =
                    numbers.is_sorted_by(|a, b| a < b) && numbers.iter().all(|number| (1..=most).contains(number));
                let words: Vec<_> = numbers.iter().map(i64::to_string).collect();
                (rises && !words.is_empty()).then(|| words.join(","))
            }
            (Self::Depths, Value::String(text)) => {
                let fits = |(kib, share): (i64, i64)| {
                    (1..=DEEPEST_KIB).contains(&kib) && (1..=i64::from(u32::MAX)).contains(&share)
                };
                text.split(',').all(|one| pair(one, ':').is_some_and(fits)).then(|| text.clone())
            }
            (Self::Wakes, Value::String(text)) => {
                let edges = || text.split(',').all(|one| pair(one, '-').is_some());
                (["line", "ring", "fan", "gather"].contains(&text.as_str()) || edges()).then(|| text.clone())
            }
            _ => None,
        }
    }
}

/// Two numbers with a letter between them, digits only.
fn pair(text: &str, between: char) -> Option<(i64, i64)> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (first, second) = text.split_once(between)?;
    Some((number(first)?, number(second)?))
}
