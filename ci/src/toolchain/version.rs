//! Versions of Rust, as `rustc --version` prints them.

use std::fmt;

/// Major and minor number of a Rust compiler.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The oldest compiler that builds the project: `rust-version` of the workspace, which this package inherits.
    pub fn needed() -> Self {
        Self::parse(env!("CARGO_PKG_RUST_VERSION")).unwrap_or(Self { major: 1, minor: 95 })
    }

    /// Reads the first version number of a text: `rustc 1.96.0-nightly (…)`, `1.95`.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::parse_word)
    }

    fn parse_word(word: &str) -> Option<Self> {
        let mut parts = word.split(['.', '-', '+']);
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> Option<Version> {
        Some(Version { major, minor })
    }

    #[test]
    fn what_compilers_print() {
        let debian = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)";
        assert_eq!(Version::parse(debian), version(1, 96));
        assert_eq!(Version::parse("rustc 1.100.0-nightly (0a1b2c3d4 2026-09-01)"), version(1, 100));
        assert_eq!(Version::parse("1.95"), version(1, 95));
        assert_eq!(Version::parse("rustc unknown"), None);
    }

    #[test]
    fn order_is_by_number() {
        assert!(version(1, 100) > version(1, 95));
        assert!(version(1, 9) < version(1, 95));
        assert!(version(2, 0) > version(1, 95));
    }
}
