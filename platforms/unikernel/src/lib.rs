//! A unikernel crate whose kernel stacks ebb when their threads do not need them.
//!
//! An app is a `no_std` binary crate with this one dependency and one macro, [`main!`]:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! ebbtide::main!(main);
//!
//! fn main() {
//!     let tide = ebbtide::thread::spawn(|| 6 * 7);
//!     ebbtide::println!("{} fathoms", tide.join().unwrap());
//! }
//! ```
//!
//! `cargo xtask run PATH`, in a clone of the Ebbtide repository, builds it into an image and boots that; `PATH` is the
//! crate's folder, which may lie anywhere. Plain `cargo build` ends with an error, since an image needs more.
//!
//! # What there is
//!
//! The names are std's, and so is what they mean, unless their page says otherwise: [`thread`], [`sync`], [`time`],
//! [`env`](mod@env), [`hint`], [`process`], [`print!`], [`println!`]. [`stack`] shows what the stack policy does with memory;
//! [`log`] is the crate of that name, whose records go to the console. `extern crate alloc;` gives `Vec`, `String` and
//! `Box`: the global allocator is set up, and so is the panic handler.
//!
//! # How a run ends
//!
//! When `main` returns, whatever other threads do; by [`process::exit`]; or by the kernel, with a report: a panic in
//! any thread (exit code 101), a stack overflow (102), no memory (104), an exception (105).
//!
//! # Features
//!
#![doc = document_features::document_features!()]
#![no_std]

#[doc(hidden)]
pub extern crate alloc;

#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod machine;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod machine;

pub mod env;
pub mod hint;
mod image;
mod macros;
mod plain_build;
mod policy;
pub mod process;
#[doc(hidden)]
pub mod provoke;
pub mod stack;
mod start;
pub mod sync;
mod system;
pub mod thread;
pub mod time;
pub mod user;

pub use log;

#[doc(hidden)]
pub use macros::__print;
#[doc(hidden)]
pub use system::Ebbtide;
