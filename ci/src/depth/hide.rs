//! The console without the lines that are for this tool.

use std::io::{self, Write};

use super::parse::{is_told, may_be_told};

/// Passes on what is no line of [`parse`](super::parse), and that at once.
pub struct Hide<W: Write> {
    out: W,
    /// The beginning of a line, as long as it may be one of these.
    held: Vec<u8>,
    /// What the line is known to be, once it is.
    line: Line,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Line {
    Unknown,
    Shown,
    Hidden,
}

impl<W: Write> Hide<W> {
    pub fn new(out: W) -> Self {
        Self { out, held: Vec::new(), line: Line::Unknown }
    }
}

impl<W: Write> Write for Hide<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            match self.line {
                Line::Hidden => {}
                Line::Shown => self.out.write_all(&[*byte])?,
                Line::Unknown => {
                    self.held.push(*byte);
                    if is_told(&self.held) {
                        self.line = Line::Hidden;
                    } else if !may_be_told(&self.held) {
                        self.line = Line::Shown;
                        self.out.write_all(&self.held)?;
                    }
                }
            }
            if *byte == b'\n' {
                self.line = Line::Unknown;
            }
            if self.line != Line::Unknown || *byte == b'\n' {
                self.held.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Hide<W> {
    /// A guest that was killed may have left half a line.
    fn drop(&mut self) {
        let _ = self.out.write_all(&self.held).and_then(|()| self.out.flush());
    }
}
