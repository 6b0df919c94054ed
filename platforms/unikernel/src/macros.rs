//! `main!`, and std's `print!` and `println!`.

use core::fmt;

use crate::system::Ebbtide;

/// Makes a function the app's `main`. It may return `()`, a `Result` or an [`ExitCode`](crate::process::ExitCode).
///
/// The function runs in the main thread, which has 64 KiB of stack.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        const _: () = {
            #[unsafe(no_mangle)]
            static __EBBTIDE_NAME: &'static str = $crate::__name!();

            #[unsafe(no_mangle)]
            fn __ebbtide_main() -> i32 {
                $crate::process::Termination::report($main()).code()
            }
        };
    };
}

/// The name of the binary that is being built.
#[doc(hidden)]
#[macro_export]
macro_rules! __name {
    () => {
        match option_env!("CARGO_BIN_NAME") {
            Some(name) => name,
            None => env!("CARGO_PKG_NAME"),
        }
    };
}

/// Writes to the console: std's `print!`.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::__print(format_args!($($argument)*)) };
}

/// Writes a line to the console: std's `println!`.
#[macro_export]
macro_rules! println {
    () => { $crate::__print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::__print(format_args!("{}\n", format_args!($($argument)*))) };
}

#[doc(hidden)]
pub fn __print(arguments: fmt::Arguments<'_>) {
    ebbtide_core::console::print::<Ebbtide>(arguments);
}
