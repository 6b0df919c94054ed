//! Lines in which a guest tells something to this tool: words of the form `key=value`.

use anyhow::{Context, Result, bail};

/// The values of these keys, which stand in this order and are all there is.
///
/// # Errors
///
/// One of them stands elsewhere or nowhere, or there is more.
pub fn fields<'a, const N: usize>(line: &'a str, keys: [&str; N]) -> Result<[&'a str; N]> {
    let mut words = line.split(' ');
    let mut values = [""; N];
    for (value, key) in values.iter_mut().zip(keys) {
        let word = words.next().with_context(|| format!("`{key}=` is missing"))?;
        let found = word.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
        *value = found.with_context(|| format!("`{word}` stands where `{key}=` has to"))?;
    }
    if let Some(word) = words.next() {
        bail!("`{word}` is too much");
    }
    Ok(values)
}

/// A number.
///
/// # Errors
///
/// It is none.
pub fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("`{text}` is no number"))
}
