//! Child processes: interruption, and groups that end as one.

use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::exit;

/// Set by Ctrl-C or a request to terminate. Long work looks at it; nothing is torn down inside a signal handler.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a waiting loop looks up. Far below what a person or a time-out notices.
const POLL: Duration = Duration::from_millis(5);

/// Lets Ctrl-C and requests to terminate be seen by [`interrupted`].
///
/// # Errors
///
/// When the system refuses the handler.
pub fn catch_interrupts() -> anyhow::Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst)).context("installing the Ctrl-C handler")
}

/// Whether the user wants the tool to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Ends what is under way, as Ctrl-C does.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Why a wait ended.
#[derive(Debug)]
pub enum Waited {
    /// The process ended by itself.
    Ended(std::process::ExitStatus),
    /// The time was up; the group has been killed.
    TimedOut,
    /// The user wants to end; the group has been killed.
    Interrupted,
}

/// Waits for the leader of a process group, and kills the group on a time-out or an interruption.
///
/// # Errors
///
/// When the process cannot be waited for.
pub fn wait_group(child: &mut Child, timeout: Option<Duration>) -> io::Result<Waited> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Waited::Ended(status));
        }
        let late = timeout.is_some_and(|limit| start.elapsed() >= limit);
        if late || interrupted() {
            end_group(child)?;
            return Ok(if interrupted() { Waited::Interrupted } else { Waited::TimedOut });
        }
        std::thread::sleep(POLL);
    }
}

/// Asks a process group to end, and kills what is still there after a moment.
fn end_group(child: &mut Child) -> io::Result<()> {
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::TERM);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        if child.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(POLL);
    }
    // The leader's own end says nothing about its children. Until the group is empty its number is not used again.
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().map(|_| ())
}

/// Runs a program for what it prints; `None` if it is not there or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|out| out.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Runs a program whose output goes to the user, and says whether it succeeded.
///
/// # Errors
///
/// When it cannot be started (122), or when the user interrupts (130).
pub fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    let status = command.status();
    if interrupted() {
        return Err(exit::interrupted());
    }
    match status {
        Ok(status) => Ok(status.success()),
        Err(error) => {
            Err(exit::missing(format!("cannot start `{}`: {error}", command.get_program().to_string_lossy())))
        }
    }
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// A word as a shell takes it, quoted only where it must be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    match shlex::try_quote(word) {
        Ok(quoted) => quoted.into_owned(),
        Err(_) => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn commands_can_be_typed() {
        let mut command = Command::new("qemu");
        command.args(["-device", "a,b=0x1", "-append", "x 'y'"]);
        let shown = shown(&command);
        assert!(shown.starts_with("qemu -device a,b=0x1 -append "), "{shown}");
        assert_eq!(shlex::split(&shown).unwrap().last().unwrap(), "x 'y'");
    }

    #[test]
    fn a_time_out_ends_the_whole_group() {
        let start = Instant::now();
        // The leader ignores the polite request, and has a child.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; sleep 60 & sleep 60; sleep 60"])
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        let waited = wait_group(&mut child, Some(Duration::from_millis(50))).unwrap();
        assert!(matches!(waited, Waited::TimedOut), "{waited:?}");
        assert!(start.elapsed() < Duration::from_secs(30));
        // What is left of a killed group vanishes when its parent has looked; that takes a moment.
        let gone = || rustix::process::test_kill_process_group(group).is_err();
        assert!((0..1000).any(|_| {
            std::thread::sleep(POLL);
            gone()
        }));
    }
}
