//! How a run ended: the guest's last line and QEMU's status, which must agree.
//!
//! Neither alone is believed. QEMU ends with 0 when a triple fault stops a machine that may not reboot, and with 1 when
//! it fails itself; a guest may print its last line and hang in the exit. The guest therefore hands `code + 16` to the
//! exit device: no status below 16 can be a guest's ([`Arch::code_of`]).

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::arch::Arch;
use crate::exit::Code;
use crate::process::Waited;

/// The largest code that a guest ends with.
const LAST_CODE: u8 = 107;

/// How a run ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// By the guest's own word: its last line and the status agree.
    Guest {
        /// The guest's code, 0 to 107.
        code: u8,
        /// The word in the last line.
        reason: String,
    },
    /// In any other way; the text says what was seen.
    Crashed(String),
    /// By the time-out.
    TimedOut,
    /// By the user.
    Interrupted,
}

impl Ending {
    /// Judges a run from what the wait saw and what stands in the log.
    pub fn judge(arch: Arch, waited: &Waited, log: &str) -> Self {
        match waited {
            Waited::TimedOut => Self::TimedOut,
            Waited::Interrupted => Self::Interrupted,
            Waited::Ended(status) => agree(arch, last_line(log), *status),
        }
    }

    /// What `run` ends with.
    pub fn exit_code(&self) -> Code {
        match self {
            Self::Guest { code, .. } => Code(*code),
            Self::Crashed(_) => Code::CRASHED,
            Self::TimedOut => Code::TIMEOUT,
            Self::Interrupted => Code::INTERRUPTED,
        }
    }
}

/// The code and the word of a guest's last line.
type LastLine = (u8, String);

/// Reads the last line of a log, if it is one that a guest ends with. Anything after it makes it not the last.
fn last_line(log: &str) -> Option<LastLine> {
    let line = log.trim_end_matches(['\r', '\n']).lines().next_back()?;
    let rest = line.trim_end_matches('\r').strip_prefix("ebbtide: end code=")?;
    let (code, rest) = rest.split_once(' ')?;
    let reason = rest.strip_prefix("reason=")?;
    let word = !reason.is_empty() && !reason.contains(char::is_whitespace);
    let number = code.bytes().all(|byte| byte.is_ascii_digit());
    let code = code.parse().ok().filter(|_| word && number)?;
    Some((code, reason.to_owned()))
}

/// The guest's code that a status stands for.
fn code_of(arch: Arch, status: ExitStatus) -> Option<u8> {
    let status = u8::try_from(status.code()?).ok()?;
    arch.code_of(status).filter(|code| *code <= LAST_CODE)
}

fn agree(arch: Arch, line: Option<LastLine>, status: ExitStatus) -> Ending {
    let how = described(status);
    match (line, code_of(arch, status)) {
        (Some((code, reason)), Some(same)) if code == same => Ending::Guest { code, reason },
        (Some((code, _)), Some(other)) => {
            Ending::Crashed(format!("the guest's last line says code {code}, but the status says {other} ({how})"))
        }
        (Some((code, _)), None) => {
            Ending::Crashed(format!("the guest's last line says code {code}, but {how}, which no guest can cause"))
        }
        (None, Some(code)) => {
            Ending::Crashed(format!("the status says code {code}, but the guest's last line is missing ({how})"))
        }
        (None, None) => Ending::Crashed(format!("the guest ended without its last line: {how}")),
    }
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "QEMU ended with 0, as after a triple fault".to_owned(),
        (Some(1), _) => "QEMU ended with 1, an error of its own".to_owned(),
        (Some(code), _) => format!("QEMU ended with {code}"),
        (None, Some(signal)) => format!("QEMU was killed by signal {signal}"),
        (None, None) => "QEMU ended in an unknown way".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Waited {
        Waited::Ended(ExitStatus::from_raw(code << 8))
    }

    fn judged(waited: &Waited, log: &str) -> Ending {
        judged_on(Arch::X86_64, waited, log)
    }

    fn judged_on(arch: Arch, waited: &Waited, log: &str) -> Ending {
        let ending = Ending::judge(arch, waited, log);
        if !matches!(ending, Ending::Guest { .. }) {
            assert_ne!(ending.exit_code(), Code::OK);
        }
        ending
    }

    const GOOD: &str = "hello\r\nebbtide: end code=0 reason=main\r\n";

    #[test]
    fn agreement_counts() {
        let ending = judged(&exited(33), GOOD);
        assert_eq!(ending.exit_code(), Code::OK);
        let panic = judged(&exited(2 * (101 + 16) + 1), "ebbtide: end code=101 reason=panic\n");
        assert_eq!(panic.exit_code(), Code(101));
    }

    #[test]
    fn every_code_agrees_with_its_own_status_only() {
        for code in 0..=LAST_CODE {
            let log = format!("ebbtide: end code={code} reason=exit\n");
            for status in 0..=255 {
                for (arch, own) in
                    [(Arch::X86_64, 2 * (i32::from(code) + 16) + 1), (Arch::Aarch64, i32::from(code) + 16)]
                {
                    let ending = judged_on(arch, &exited(status), &log);
                    let counts = matches!(ending, Ending::Guest { code: c, .. } if c == code);
                    assert_eq!(counts, status == own, "{arch}");
                }
            }
        }
    }

    #[test]
    fn a_hang_never_passes() {
        assert_eq!(judged(&Waited::TimedOut, GOOD).exit_code(), Code::TIMEOUT);
        assert_eq!(judged(&Waited::Interrupted, GOOD).exit_code(), Code::INTERRUPTED);
    }

    #[test]
    fn a_triple_fault_never_passes() {
        assert_eq!(judged(&exited(0), "").exit_code(), Code::CRASHED);
        assert_eq!(judged(&exited(0), GOOD).exit_code(), Code::CRASHED);
    }

    #[test]
    fn death_by_signal_never_passes() {
        for signal in [6, 9, 11, 15, 33] {
            let killed = Waited::Ended(ExitStatus::from_raw(signal));
            assert_eq!(judged(&killed, GOOD).exit_code(), Code::CRASHED);
        }
    }

    #[test]
    fn a_line_without_status_never_passes() {
        for status in [0, 1, 2, 31, 32, 34, 255] {
            assert_eq!(judged(&exited(status), GOOD).exit_code(), Code::CRASHED);
        }
    }

    #[test]
    fn a_status_without_line_never_passes() {
        let logs = [
            "",
            "hello\n",
            "ebbtide: end code=0 reason=main\nmore\n",
            "ebbtide: end code=0\n",
            "ebbtide: end code=0 reason=\n",
            "ebbtide: end code=0 reason=a b\n",
            "ebbtide: end code=+0 reason=main\n",
            "x ebbtide: end code=0 reason=main\n",
            "ebbtide: end code=256 reason=main\n",
        ];
        for log in logs {
            assert_eq!(judged(&exited(33), log).exit_code(), Code::CRASHED, "{log:?}");
        }
    }

    #[test]
    fn codes_out_of_range_never_pass() {
        let log = "ebbtide: end code=108 reason=exit\n";
        assert_eq!(judged(&exited(2 * (108 + 16) + 1), log).exit_code(), Code::CRASHED);
        assert_eq!(judged_on(Arch::Aarch64, &exited(108 + 16), log).exit_code(), Code::CRASHED);
    }
}
