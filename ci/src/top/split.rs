//! The guest's serial line, taken apart: what it tells of itself, and what its app says.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::Came;
use super::parse::{MARK, Reader, Snapshot};
use super::screen::Screen;

/// Hands snapshots and lines of the app's on to a screen, and ends the run when it has had enough.
pub struct Split {
    screen: Screen,
    /// The line so far.
    line: Vec<u8>,
    reader: Reader,
    last: Option<Snapshot>,
    /// How many snapshots are wanted.
    most: Option<u32>,
    came: Arc<Mutex<Came>>,
    /// Ends the guest.
    end: fn(),
}

impl Split {
    pub fn new(screen: Screen, most: Option<u32>, came: Arc<Mutex<Came>>, end: fn()) -> Self {
        Self { screen, line: Vec::new(), reader: Reader::default(), last: None, most, came, end }
    }

    fn take_line(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.line).trim_end_matches(['\r', '\n']).to_owned();
        self.line.clear();
        // The app may have stopped in the middle of a line.
        let Some((before, told)) = line.split_once(MARK) else { return self.screen.app(&line) };
        if !before.is_empty() {
            self.screen.app(before)?;
        }
        if self.is_over() {
            return Ok(());
        }
        match self.reader.take(told) {
            Ok(None) => Ok(()),
            Ok(Some(snapshot)) => self.show(snapshot),
            Err(wrong) => {
                self.with_came(|came| came.wrong = Some(format!("{wrong:#}, in the guest's line `{MARK}{told}`")));
                (self.end)();
                Ok(())
            }
        }
    }

    fn show(&mut self, snapshot: Snapshot) -> io::Result<()> {
        self.screen.snapshot(&snapshot, self.last.as_ref())?;
        self.last = Some(snapshot);
        self.with_came(|came| came.snapshots += 1);
        if self.is_over() {
            (self.end)();
        }
        Ok(())
    }

    /// Whether enough was seen, or something that is wrong.
    fn is_over(&self) -> bool {
        let most = self.most;
        self.with_came(|came| came.wrong.is_some() || most.is_some_and(|most| came.snapshots >= most))
    }

    fn with_came<R>(&self, f: impl FnOnce(&mut Came) -> R) -> R {
        f(&mut self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Split {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                self.take_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.screen.flush()
    }
}

impl Drop for Split {
    /// A guest that was killed may have left half a line; one of its own says nothing then.
    fn drop(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        if !line.is_empty() && !line.starts_with("ebbtide: t") {
            let _ = self.screen.app(&line);
        }
        let _ = self.screen.flush();
    }
}
