//! Output that outlives its reader.
//!
//! The standard macros panic when a pipe is closed, as by `cargo xtask doctor | head -1`. Those of the same names here
//! stand in their place in the whole tool, but for its unit tests, whose output the test harness takes from the standard ones.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::panic::resume_unwind;

/// Writes text; a reader that has gone is no error.
///
/// # Panics
///
/// When the text cannot be written for another reason, as a full disk: with an [`anyhow::Error`], which `main` reports as any other.
pub fn write(mut to: impl Write, text: fmt::Arguments<'_>) {
    match to.write_fmt(text).and_then(|()| to.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            // Not a defect of this tool: no message of the panic's own, and no backtrace.
            resume_unwind(Box::new(anyhow::Error::new(error).context("cannot write the output")))
        }
        _ => {}
    }
}

/// As the standard macro, but for a closed pipe.
#[cfg(not(test))]
macro_rules! print {
    ($($text:tt)*) => { $crate::say::write(::std::io::stdout().lock(), ::std::format_args!($($text)*)) };
}

/// As the standard macro, but for a closed pipe.
#[cfg(not(test))]
macro_rules! println {
    () => { print!("\n") };
    ($($text:tt)*) => { print!("{}\n", ::std::format_args!($($text)*)) };
}

/// As the standard macro, but for a closed pipe.
#[cfg(not(test))]
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::say::write(::std::io::stderr().lock(), ::std::format_args!("{}\n", ::std::format_args!($($text)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::write;
    use std::io::{self, ErrorKind, Write};
    use std::panic::catch_unwind;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        write(Broken(ErrorKind::BrokenPipe), format_args!("text"));
        let mut kept = Vec::new();
        write(&mut kept, format_args!("{} text", "a"));
        assert_eq!(kept, b"a text");
    }

    #[test]
    fn a_full_disk_is() {
        let written = catch_unwind(|| write(Broken(ErrorKind::StorageFull), format_args!("text")));
        let error = written.expect_err("it fails").downcast::<anyhow::Error>().expect("an error like others");
        assert!(error.to_string().starts_with("cannot write the output"), "{error:#}");
    }
}
