//! The console of a run: passes everything on at once, and adds names to backtraces and to what was touched.

use std::io::{self, Write};

use super::{Lookup, frame, head, named, named_data, touched};

/// Lines longer than this are no part of a backtrace.
const LONGEST: usize = 256;

/// Passes a guest's output on and names the frames of backtraces on the way.
///
/// Only a line that may be a frame is held back until it is whole; all else goes on as it comes, for an app may show a
/// prompt without an end of line.
pub struct Console<W: Write> {
    out: W,
    symbols: Option<Box<dyn Lookup + Send>>,
    /// The line so far, up to [`LONGEST`] bytes.
    line: Vec<u8>,
    /// How much of it has been passed on.
    passed: usize,
    /// Whether the line has grown too long to be kept.
    overlong: bool,
    /// Where the image lies, inside a backtrace.
    base: Option<u64>,
    /// What the report says was touched whose lines these are.
    touched: Option<u64>,
}

impl<W: Write> Console<W> {
    /// A console that writes to `out`; without symbols it changes nothing.
    pub fn new(out: W, symbols: Option<Box<dyn Lookup + Send>>) -> Self {
        Self { out, symbols, line: Vec::new(), passed: 0, overlong: false, base: None, touched: None }
    }

    fn end_line(&mut self) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.line).into_owned();
        let found = self.base.and_then(|base| Some((base, frame(&text)?)));
        match (&self.symbols, found) {
            (Some(symbols), Some((base, frame))) if self.passed == 0 => {
                writeln!(self.out, "{}", named(symbols.as_ref(), base, frame))?;
            }
            _ => {
                self.pass_on()?;
                self.base = if self.overlong { None } else { head(&text) };
                self.name_touched(&text)?;
            }
        }
        self.line.clear();
        self.passed = 0;
        self.overlong = false;
        Ok(())
    }

    /// Adds what was touched to the head of a backtrace, which stands below a report.
    fn name_touched(&mut self, line: &str) -> io::Result<()> {
        if let Some(base) = self.base {
            let (symbols, address) = (self.symbols.as_ref(), self.touched.take());
            let name = symbols.zip(address).and_then(|(symbols, address)| named_data(symbols.as_ref(), base, address));
            name.map_or(Ok(()), |name| writeln!(self.out, "{name}"))
        } else {
            // The lines of a report behind its first are indented.
            let before = self.touched.take().filter(|_| line.starts_with("  "));
            self.touched = touched(line).or(before);
            Ok(())
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.line[self.passed..])?;
        self.passed = self.line.len();
        Ok(())
    }

    fn take(&mut self, byte: u8) -> io::Result<()> {
        if self.overlong {
            self.out.write_all(&[byte])?;
        } else {
            self.line.push(byte);
        }
        if byte == b'\n' {
            return self.end_line();
        }
        if self.line.len() > LONGEST {
            self.pass_on()?;
            self.overlong = true;
            self.line.clear();
            self.passed = 0;
        }
        Ok(())
    }

    fn may_be_frame(&self) -> bool {
        self.base.is_some() && self.passed == 0 && !self.overlong && {
            let mut rest = self.line.iter().skip_while(|byte| **byte == b' ');
            rest.next().is_none_or(|byte| *byte == b'#')
        }
    }
}

impl<W: Write> Write for Console<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.take(*byte)?;
        }
        if !self.may_be_frame() {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Console<W> {
    /// A guest that was killed may have left half a line.
    fn drop(&mut self) {
        let _ = self.pass_on().and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::Place;

    struct Fake;

    impl Lookup for Fake {
        fn places(&self, address: u64) -> Vec<Place> {
            let place = |function: String| Place { function, position: Some(format!("a.rs:{address}")) };
            match address {
                0 => Vec::new(),
                0xff => vec![place("inner".to_owned()), place("outer".to_owned())],
                _ => vec![place(format!("f{address:x}"))],
            }
        }

        fn function(&self, address: u64) -> Option<String> {
            self.places(address).pop().map(|place| place.function)
        }

        fn data(&self, address: u64) -> Option<(String, u64)> {
            (0x10..0x20).contains(&address).then(|| ("app::STATIC".to_owned(), address - 0x10))
        }
    }

    const REPORT: &str = "ebbtide: thread 3 ended: page fault (read) at address 0x1018\n  at 0x1, stack pointer 0x2, \
                          touched 0x1018\nbacktrace (image at 0x1000):\n";

    fn shown(chunks: &[&str]) -> String {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, Some(Box::new(Fake)));
        for chunk in chunks {
            console.write_all(chunk.as_bytes()).unwrap();
        }
        drop(console);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_get_names() {
        let text = "panicked\r\nbacktrace (image at 0x1000):\r\n  #0 0x1010\r\n  #1 0x1021\r\nend\n";
        assert_eq!(
            shown(&[text]),
            "panicked\r\nbacktrace (image at 0x1000):\r\n  #0 0x1010 f10 at a.rs:16\n  #1 0x1021 f20 at a.rs:32\nend\n"
        );
    }

    #[test]
    fn what_was_touched_gets_a_name() {
        assert_eq!(
            shown(&[REPORT, "  #0 0x1010\n"]),
            format!("{REPORT}  touched 0x1018: app::STATIC+0x8\n  #0 0x1010 f10 at a.rs:16\n")
        );
        let kernels = "ebbtide: page fault (read) at address 0x1010 in thread 3\n  at 0x1, stack pointer 0x2\n\
                       backtrace (image at 0x1000):\n";
        assert_eq!(shown(&[kernels]), format!("{kernels}  touched 0x1010: app::STATIC\n"));
    }

    #[test]
    fn what_another_report_touched_or_nobody_knows_gets_none() {
        let told = "one: page fault (read) at address 0x1010\nthread 3 panicked:\nbacktrace (image at 0x1000):\n";
        assert_eq!(shown(&[told]), told);
        let unknown = REPORT.replace("0x1018", "0x1000");
        assert_eq!(shown(&[&unknown]), unknown);
        let below = REPORT.replace("0x1018", "0x10");
        assert_eq!(shown(&[&below]), below);
    }

    #[test]
    fn inlined_calls_are_listed() {
        assert_eq!(
            shown(&["backtrace (image at 0x0):\n  #1 0x100\n"]),
            "backtrace (image at 0x0):\n  #1 0x100 inner at a.rs:255\n       inlined into outer at a.rs:255\n"
        );
    }

    #[test]
    fn unknown_addresses_stay() {
        assert_eq!(
            shown(&["backtrace (image at 0x1000):\n  #0 0x1000\n  #1 0xff\n"]),
            "backtrace (image at 0x1000):\n  #0 0x1000\n  #1 0xff\n"
        );
    }

    #[test]
    fn frames_outside_a_backtrace_stay() {
        let text = "  #0 0x1010\nbacktrace (image at 0x1000):\nother\n  #0 0x1010\n";
        assert_eq!(shown(&[text]), text);
    }

    #[test]
    fn chunks_do_not_matter() {
        let text = "a\nbacktrace (image at 0x1000):\n  #0 0x1010\nhalf a line";
        let bytes: Vec<_> = text.split_inclusive(|_: char| true).collect();
        assert_eq!(shown(&bytes), shown(&[text]));
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, Some(Box::new(Fake)));
        console.write_all(b"name? ").unwrap();
        assert_eq!(console.passed, 6);
        drop(console);
        assert_eq!(out, b"name? ");
    }

    #[test]
    fn long_lines_and_odd_bytes_pass() {
        let mut text = vec![b'x'; 3 * LONGEST];
        text.extend([0xff, 0xfe, b'\n']);
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, Some(Box::new(Fake)));
        console.write_all(&text).unwrap();
        drop(console);
        assert_eq!(out, text);
    }
}
