//! Runs guests in QEMU.
//!
//! Each run has a log, a process group of its own, and an [`Ending`] that believes nothing but agreement between the
//! guest's last line and QEMU's status.

pub mod accel;
mod ending;
mod guest;
mod known;
mod log;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

pub use ending::Ending;
pub use guest::{Guest, Serial};
pub use known::{check as check_names, check_all as check_all_names};

use crate::exit;
use crate::files;
use crate::process;
use crate::project::Project;
use crate::symbols;

/// How many of the last lines an error shows.
const SHOWN_LINES: usize = 12;

/// How much must still be free, in bytes, where a log that lacks its end is to be taken for whole.
const LOG_ROOM: u64 = 64 * 1024;

/// One run of one guest.
pub struct Run<'a> {
    /// The repository.
    pub project: &'a Project,
    /// The machine and what it boots.
    pub guest: &'a Guest,
    /// What the log's name begins with.
    pub label: &'a str,
    /// When to give up.
    pub timeout: Option<Duration>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// The serial log.
    pub log: PathBuf,
    /// What the guest wrote.
    pub output: String,
    /// What QEMU wrote to its standard error.
    pub stderr: String,
    /// How long it took.
    pub duration: Duration,
    /// The QEMU command, as a shell takes it.
    pub command: String,
}

impl Report {
    /// What went wrong, in one line; nothing for a run that ended with 0.
    pub fn error(&self) -> Option<String> {
        match &self.ending {
            Ending::Guest { code: 0, .. } => None,
            Ending::Guest { code, reason } => Some(format!("the guest ended with {code} ({reason})")),
            Ending::Crashed(seen) => Some(seen.clone()),
            Ending::TimedOut => Some(format!("no end within {:.1} s", self.duration.as_secs_f64())),
            Ending::Interrupted => Some("interrupted".to_owned()),
        }
    }

    /// What was seen last, for a person: the end of the log, with names in backtraces, and QEMU's errors.
    pub fn last_words(&self, elf: &Path) -> String {
        let output = symbols::with_names(&self.output, elf);
        let lines: Vec<_> = output.lines().collect();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        let mut text = String::new();
        for line in &lines[from..] {
            text.push_str(&format!("  | {}\n", line.trim_end()));
        }
        for line in self.stderr.lines() {
            text.push_str(&format!("  qemu: {line}\n"));
        }
        text.push_str(&format!("  log: {}", self.log.display()));
        text
    }
}

impl Run<'_> {
    /// Runs without showing anything; QEMU writes the serial log itself.
    ///
    /// # Errors
    ///
    /// When QEMU is missing (122), or the log cannot be written, all of it.
    pub fn quiet(&self) -> anyhow::Result<Report> {
        let log = log::name(self.project, self.label);
        let command = self.command(Serial::File(&log));
        log::begin(&log, &process::shown(&command))?;
        self.carry_out(command, log, None)
    }

    /// Runs and hands the serial output on as it comes.
    ///
    /// # Errors
    ///
    /// As [`Self::quiet`].
    pub fn streaming(&self, console: Box<dyn Write + Send>) -> anyhow::Result<Report> {
        let log = log::name(self.project, self.label);
        let mut command = self.command(Serial::Stdio);
        let file = log::begin(&log, &process::shown(&command))?;
        command.stdout(Stdio::piped());
        self.carry_out(command, log, Some((Box::new(file), console)))
    }

    /// The command of a streaming run, as a shell takes it.
    pub fn shown(&self) -> String {
        process::shown(&self.command(Serial::Stdio))
    }

    fn command(&self, serial: Serial<'_>) -> Command {
        let mut command = Command::new(self.guest.arch.qemu());
        command.args(self.guest.arguments(serial));
        command
    }

    fn carry_out(&self, mut command: Command, log: PathBuf, sinks: Option<Sinks>) -> anyhow::Result<Report> {
        // A group of its own: Ctrl-C reaches this tool alone, which then ends QEMU and its children, if any.
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        if sinks.is_none() {
            command.stdout(Stdio::null());
        }
        let start = Instant::now();
        let mut child = command.spawn().map_err(|error| cannot_start(&command, &error))?;
        let stderr = collect_stderr(&mut child);
        let stream = child.stdout.take().zip(sinks).map(|(out, sinks)| stream(out, sinks));
        let waited = process::wait_group(&mut child, self.timeout).context("waiting for QEMU")?;
        let duration = start.elapsed();
        if let Some(stream) = stream {
            let _ = stream.join();
        }
        let output = log::read(&log)?;
        let ending = Ending::judge(self.guest.arch, &waited, &output);
        if let Ending::Crashed(_) | Ending::TimedOut = ending {
            // A log without its end is not the guest's fault.
            files::check_room(&self.project.logs(), LOG_ROOM)?;
        }
        Ok(Report {
            ending,
            output,
            stderr: stderr.and_then(|thread| thread.join().ok()).unwrap_or_default(),
            duration,
            command: process::shown(&command),
            log,
        })
    }
}

/// The log and the console, in this order: the log must be whole even if nobody reads the console any more.
type Sinks = (Box<dyn Write + Send>, Box<dyn Write + Send>);

fn stream(mut from: impl Read + Send + 'static, (mut log, mut console): Sinks) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let _ = log.write_all(&buffer[..length]);
            let _ = console.write_all(&buffer[..length]).and_then(|()| console.flush());
        }
    })
}

fn collect_stderr(child: &mut Child) -> Option<JoinHandle<String>> {
    let mut from = child.stderr.take()?;
    Some(thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

fn cannot_start(command: &Command, error: &std::io::Error) -> anyhow::Error {
    let program = Path::new(command.get_program()).display();
    exit::missing(format!(
        "cannot start `{program}`: {error}; ci/setup installs it, `cargo xtask doctor` shows what is there"
    ))
}
