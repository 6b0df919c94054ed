//! What a workload is made to do: words `key=value` of the command line, each of which must be there.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::str::FromStr;

use crate::depths::Depths;

/// The words of one workload.
pub struct Words<'a>(&'a [String]);

impl<'a> Words<'a> {
    /// Takes words, all of whose keys must be known.
    ///
    /// # Errors
    ///
    /// One is not.
    pub fn new(words: &'a [String], known: &[&str]) -> Result<Self, String> {
        let is_known = |word: &&String| word.split_once('=').is_some_and(|(key, _)| known.contains(&key));
        match words.iter().find(|word| !is_known(word)) {
            None => Ok(Self(words)),
            Some(word) => Err(format!("`{word}` is not known; known: {}=…", known.join("=…, "))),
        }
    }

    /// What stands after `key=`.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn text(&self, key: &str, form: &str) -> Result<&'a str, String> {
        let found = self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.ok_or_else(|| format!("the command line lacks `{key}={form}`"))
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// It is not there, is no number, or not among those that are allowed.
    pub fn number(&self, key: &str, allowed: RangeInclusive<usize>) -> Result<usize, String> {
        let value = self.text(key, "NUMBER")?;
        parse(value).filter(|number| allowed.contains(number)).ok_or_else(|| {
            format!("`{key}={value}`: allowed are numbers from {} to {}", allowed.start(), allowed.end())
        })
    }

    /// Numbers from 1 with commas between them, each greater than the one before.
    ///
    /// # Errors
    ///
    /// They are not there, or not so.
    pub fn rising(&self, key: &str, most: usize) -> Result<Vec<usize>, String> {
        let value = self.text(key, "NUMBER,…")?;
        let numbers: Option<Vec<usize>> = value.split(',').map(parse).collect();
        let fit = |numbers: &Vec<usize>| {
            numbers[0] > 0 && numbers.is_sorted_by(|a, b| a < b) && numbers.iter().all(|number| *number <= most)
        };
        numbers.filter(fit).ok_or_else(|| {
            format!("`{key}={value}`: it must be numbers from 1 to {most}, each greater than the last, as 1,10,100")
        })
    }

    /// A number, or two with a `-` between them: any from the one to the other.
    ///
    /// # Errors
    ///
    /// They are not there, or not so.
    pub fn span(&self, key: &str, most: usize) -> Result<RangeInclusive<usize>, String> {
        let value = self.text(key, "NUMBER or FROM-TO")?;
        let (from, to) = value.split_once('-').unwrap_or((value, value));
        let span = parse(from).zip(parse(to)).filter(|(from, to)| (1..=*to).contains(from) && *to <= most);
        span.map(|(from, to)| from..=to).ok_or_else(|| {
            format!("`{key}={value}`: it must be a number from 1 to {most}, or two as 20-60, the smaller one first")
        })
    }

    /// How deep threads go.
    ///
    /// # Errors
    ///
    /// They are not there, or no depths.
    pub fn depths(&self) -> Result<Depths, String> {
        let value = self.text("depths", "KIB:SHARE,…")?;
        Depths::parse(value).map_err(|allowed| format!("`depths={value}`: {allowed}"))
    }

    /// What dice begin with.
    ///
    /// # Errors
    ///
    /// It is not there, or 0.
    pub fn seed(&self) -> Result<u64, String> {
        Ok(self.number("seed", 1..=usize::MAX)? as u64)
    }
}

/// Reads a number.
pub fn parse<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok()
}
