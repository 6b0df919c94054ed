//! How the run ends: std's `process`.

use core::fmt::Debug;

use ebbtide_core::System as _;
use ebbtide_core::report::{self, End};

use crate::system::Ebbtide;
use crate::{println, stack};

/// Ends the run at once with an exit code of 0 to 99: other threads stop where they are, and nothing is dropped.
///
/// What the kernel's command line asks for is reported before (`ebbtide.report`). Any other number ends the run with 100, and the last
/// line on the console names it. `cargo xtask run` passes the code on.
pub fn exit(code: i32) -> ! {
    if Ebbtide::AUDIT && Ebbtide::kernel().settings.reports_depth() {
        println!("{}", stack::report());
    }
    report::end::<Ebbtide>(End::Exit(code))
}

/// An exit code for `main` to return: std's `ExitCode`. Numbers above 99 are treated as [`exit`] treats them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// All went well: 0.
    pub const SUCCESS: Self = Self(0);
    /// Something went wrong: 1.
    pub const FAILURE: Self = Self(1);

    /// The number.
    #[doc(hidden)]
    pub const fn code(self) -> i32 {
        self.0 as i32
    }
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

/// What `main` may return: std's `Termination`.
pub trait Termination {
    /// The exit code. An error is printed first.
    fn report(self) -> ExitCode;
}

impl Termination for () {
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

impl Termination for core::convert::Infallible {
    fn report(self) -> ExitCode {
        match self {}
    }
}

impl Termination for ExitCode {
    fn report(self) -> ExitCode {
        self
    }
}

impl<T: Termination, E: Debug> Termination for Result<T, E> {
    fn report(self) -> ExitCode {
        match self {
            Ok(value) => value.report(),
            Err(error) => {
                println!("Error: {error:?}");
                ExitCode::FAILURE
            }
        }
    }
}
