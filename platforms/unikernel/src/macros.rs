//! `main!`, and std's `print!` and `println!`.

use core::fmt;

use crate::system::Ebbtide;

/// Makes a function the app's `main`. It may return `()`, a `Result` or an [`ExitCode`](crate::process::ExitCode).
///
/// The function runs in the main thread, which has 64 KiB of stack. When it returns, the run ends with its exit code:
/// 0 for `()` and `Ok`, 1 for `Err` (which is printed), the number of an `ExitCode`.
///
/// ```ignore
/// ebbtide::main!(main);
///
/// fn main() -> Result<(), ebbtide::thread::StackError> {
///     let diver = ebbtide::thread::Builder::new().stack_size(64 << 10).spawn(|| { /* … */ })?;
///     diver.join().unwrap();
///     Ok(())
/// }
/// ```
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

/// Writes to the console, which is the serial port: std's `print!`.
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
