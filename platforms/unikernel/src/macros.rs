//! `main!`, and std's `print!`, `println!` and `thread_local!`.

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

/// Makes values of which each thread has one for itself: std's `thread_local!`.
///
/// A value is made by its thread's first access, and dropped when that thread's closure has returned; the main thread's
/// are never dropped. `const { … }` is taken as in std, and makes no difference.
///
/// ```ignore
/// ebbtide::thread_local! {
///     static DEPTH: Cell<u32> = const { Cell::new(0) };
///     pub static LOG: RefCell<Vec<u32>> = RefCell::new(Vec::new());
/// }
///
/// DEPTH.set(DEPTH.get() + 1);
/// LOG.with_borrow_mut(|log| log.push(DEPTH.get()));
/// ```
#[macro_export]
macro_rules! thread_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attribute])*
        $visibility static $name: $crate::thread::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::thread::LocalKey::new(init)
        };
        $($crate::thread_local!($($rest)*);)?
    };
}

#[doc(hidden)]
pub fn __print(arguments: fmt::Arguments<'_>) {
    ebbtide_core::console::print::<Ebbtide>(arguments);
}
