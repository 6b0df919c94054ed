//! One check of `lint`: a command, or work of our own, that passes or says what is wrong.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::exit;
use crate::process::{self, Waited};
use crate::toolchain::HOST;

/// When one command of a check is given up.
pub const TIMEOUT: Duration = Duration::from_secs(900);

/// One check. `test` runs each as a case of its own.
pub struct Step {
    /// The check's name.
    pub name: String,
    /// The folder that cargo fills for it, by a name: the architecture's, or [`HOST`].
    pub fills: &'static str,
    /// Carries it out.
    pub run: Box<dyn Fn() -> Result<Checked> + Send + Sync>,
}

/// What a check came to.
#[derive(Debug)]
pub struct Checked {
    /// Whether it passed.
    pub ok: bool,
    /// What was said meanwhile: shown when it did not pass.
    pub output: String,
    /// Whether it did not pass because its time was up.
    pub timed_out: bool,
}

impl Checked {
    /// A check that passed, and had nothing to say.
    pub fn passed() -> Self {
        Self { ok: true, output: String::new(), timed_out: false }
    }
}

impl Step {
    /// A check that runs commands, one after the other, until one fails.
    pub fn commands(
        name: impl Into<String>,
        commands: impl Fn() -> Result<Vec<Command>> + Send + Sync + 'static,
    ) -> Self {
        let run = move || {
            for mut command in commands()? {
                let checked = captured(&mut command, Some(TIMEOUT))?;
                if !checked.ok {
                    return Ok(checked);
                }
            }
            Ok(Checked::passed())
        };
        Self { name: name.into(), fills: HOST, run: Box::new(run) }
    }
}

/// Runs a command and keeps what it prints, errors and output as they come. A time-out is a failure that says so.
///
/// # Errors
///
/// When the command cannot be started (122), or when the user interrupts (130).
pub fn captured(command: &mut Command, timeout: Option<Duration>) -> Result<Checked> {
    let mut file = tempfile::tempfile().context("making a file for a command's output")?;
    let shown = process::shown(command);
    let mut child = command
        // What is kept for later is no terminal, whatever rustfmt thinks.
        .env("TERM", "dumb")
        .env("CARGO_TERM_COLOR", "never")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(clone(&file)?)
        .stderr(clone(&file)?)
        .spawn()
        .map_err(|error| exit::missing(format!("cannot start `{shown}`: {error}")))?;
    let waited = process::wait_group(&mut child, timeout).with_context(|| format!("waiting for `{shown}`"))?;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).context("reading a command's output")?;
    let output = String::from_utf8_lossy(&bytes).into_owned();
    match waited {
        Waited::Interrupted => Err(exit::interrupted()),
        Waited::Ended(status) if status.success() => Ok(Checked { ok: true, output, timed_out: false }),
        Waited::Ended(status) => {
            Ok(Checked { ok: false, output: format!("{output}{status}: {shown}\n"), timed_out: false })
        }
        Waited::TimedOut => {
            let seconds = timeout.unwrap_or_default().as_secs_f64();
            let output = format!("{output}no end within {seconds:.0} s: {shown}\n");
            Ok(Checked { ok: false, output, timed_out: true })
        }
    }
}

/// The same file once more, for a child.
fn clone(file: &File) -> Result<Stdio> {
    Ok(file.try_clone().context("sharing a file with a command")?.into())
}

#[cfg(test)]
mod tests {
    use super::captured;
    use std::process::Command;
    use std::time::Duration;

    /// More than any of these takes that end, on however busy a machine.
    const LONG: Duration = Duration::from_secs(120);

    fn shell(script: &str, timeout: Duration) -> super::Checked {
        captured(Command::new("sh").args(["-c", script]), Some(timeout)).expect("sh is there")
    }

    #[test]
    fn output_and_verdict_are_kept() {
        let good = shell("echo one; echo two >&2", LONG);
        assert!(good.ok && good.output == "one\ntwo\n", "{good:?}");
        let bad = shell("echo one; exit 3", LONG);
        assert!(!bad.ok && !bad.timed_out && bad.output.contains("one") && bad.output.contains('3'), "{bad:?}");
    }

    #[test]
    fn a_hang_is_a_failure() {
        let hung = shell("sleep 600", Duration::from_millis(300));
        assert!(!hung.ok && hung.timed_out && hung.output.contains("no end within"), "{hung:?}");
    }
}
