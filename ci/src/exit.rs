//! How `cargo xtask` ends: the codes that scripts rely on, and errors that carry one.
//!
//! The numbers 0 to 107 are a guest's and are passed on by `run`; the tool's own start at 120, so that no script has
//! to guess whose verdict it sees.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// An exit code of `cargo xtask`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code(pub u8);

impl Code {
    /// All that was asked for ran and is ok.
    pub const OK: Self = Self(0);
    /// Something that ran failed.
    pub const FAILED: Self = Self(1);
    /// A kernel file was refused before or in the guest.
    pub const REFUSED: Self = Self(106);
    /// The guest ended without its last line, or line and status disagree.
    pub const CRASHED: Self = Self(120);
    /// Wrong arguments or input file.
    pub const USAGE: Self = Self(121);
    /// Something to install is missing.
    pub const MISSING: Self = Self(122);
    /// A build failed.
    pub const BUILD: Self = Self(123);
    /// A time-out.
    pub const TIMEOUT: Self = Self(124);
    /// Ctrl-C or a request to terminate.
    pub const INTERRUPTED: Self = Self(130);
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}

/// An error that knows the exit code it stands for.
///
/// Everywhere else `anyhow` adds context; this type only rides at the bottom of the chain, see [`code_of`].
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What went wrong, on what, and what to do; empty when that has been printed already.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Makes an error that ends the tool with `code`.
pub fn failure(code: Code, message: impl Into<String>) -> anyhow::Error {
    Failure { code, message: message.into() }.into()
}

/// Wrong arguments or input file (121).
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    failure(Code::USAGE, message)
}

/// Something to install is missing (122).
pub fn missing(message: impl Into<String>) -> anyhow::Error {
    failure(Code::MISSING, message)
}

/// A build failed (123).
pub fn build(message: impl Into<String>) -> anyhow::Error {
    failure(Code::BUILD, message)
}

/// Interrupted (130); says nothing, for the user knows.
pub fn interrupted() -> anyhow::Error {
    failure(Code::INTERRUPTED, "")
}

/// Whether an error would meet all that is still to come as well: an interruption, a missing program, a full disk.
pub fn ends_all(error: &anyhow::Error) -> bool {
    let is_full = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    };
    [Code::INTERRUPTED, Code::MISSING].contains(&code_of(error)) || error.chain().any(is_full)
}

/// Gives an error that has no code one that no guest has: 121 for a manifest that cargo cannot read, else `code`.
///
/// For the verbs whose codes below 120 are a guest's or a kernel's.
pub fn with_code(error: anyhow::Error, code: Code) -> anyhow::Error {
    if error.chain().any(|cause| cause.is::<Failure>()) {
        return error;
    }
    let refused = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(cargo_metadata::Error::CargoMetadata { .. }))
    };
    let code = if error.chain().any(refused) { Code::USAGE } else { code };
    failure(code, format!("{error:#}"))
}

/// The exit code of an error: what the [`Failure`] in its chain says, else 1.
pub fn code_of(error: &anyhow::Error) -> Code {
    error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).map_or(Code::FAILED, |failure| failure.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn context_keeps_the_code() {
        let error = Err::<(), _>(usage("no such thing")).context("while looking").unwrap_err();
        assert_eq!(code_of(&error), Code::USAGE);
    }

    #[test]
    fn a_code_is_given_where_there_is_none() {
        let given = |error| code_of(&with_code(error, Code::BUILD));
        assert_eq!(given(missing("no rustc")), Code::MISSING);
        assert_eq!(given(anyhow::anyhow!("disk full").context("copying")), Code::BUILD);
        let refused = cargo_metadata::Error::CargoMetadata { stderr: "no manifest".into() };
        assert_eq!(given(anyhow::Error::from(refused).context("reading Cargo.toml")), Code::USAGE);
        assert_eq!(with_code(anyhow::anyhow!("b").context("a"), Code::BUILD).to_string(), "a: b");
    }

    #[test]
    fn what_would_come_again_and_again_ends_all() {
        let full = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).context("writing a log");
        for error in [interrupted(), missing("no rustc"), full.expect_err("it is one")] {
            assert!(ends_all(&error), "{error:#}");
        }
        for error in [usage("no such thing"), anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound))] {
            assert!(!ends_all(&error), "{error:#}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_a_failure() {
        assert_eq!(code_of(&anyhow::anyhow!("disk full")), Code::FAILED);
    }
}
