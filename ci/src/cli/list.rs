//! Comma-separated lists with `all`.

use std::fmt;
use std::str::FromStr;

/// The value of a list flag: `all`, or what was named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum List<T> {
    /// Everything there is.
    All,
    /// What was named, each once, in the order given.
    Named(Vec<T>),
}

impl<T: Clone> List<T> {
    /// What is meant when there is `all`.
    pub fn of(&self, all: &[T]) -> Vec<T> {
        match self {
            Self::All => all.to_vec(),
            Self::Named(named) => named.clone(),
        }
    }
}

impl<T> FromStr for List<T>
where
    T: FromStr<Err = String> + PartialEq,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let mut named = Vec::new();
        for word in text.split(',') {
            let value = word.parse().map_err(|refusal| format!("`{word}`: {refusal}; or `all`"))?;
            if !named.contains(&value) {
                named.push(value);
            }
        }
        Ok(Self::Named(named))
    }
}

impl<T: fmt::Display> fmt::Display for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Named(named) = self else {
            return f.write_str("all");
        };
        let words: Vec<_> = named.iter().map(T::to_string).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    #[test]
    fn all_and_named() {
        assert_eq!("all".parse(), Ok(List::<Arch>::All));
        assert_eq!("x86_64,x86_64".parse(), Ok(List::Named(vec![Arch::X86_64])));
        assert_eq!(List::All.of(Arch::EXISTING), Arch::EXISTING);
    }

    #[test]
    fn unknown_words_are_named() {
        let refusal = "x86_64,sparc".parse::<List<Arch>>().unwrap_err();
        assert!(refusal.contains("sparc") && refusal.contains("known"), "{refusal}");
    }
}
