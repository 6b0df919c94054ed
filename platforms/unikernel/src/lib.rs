//! A unikernel crate whose kernel stacks ebb when their threads do not need them.
//!
//! An app is a `no_std` binary crate with this one dependency and one macro:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! ebbtide::main!(main);
//!
//! fn main() {
//!     ebbtide::println!("hello");
//! }
//! ```
//!
//! `cargo xtask run PATH` builds it into an image and boots that. The names are std's: [`thread`], [`sync`], [`time`],
//! [`env`](mod@env), [`process`], [`print!`].
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

pub mod env;
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

pub use log;

#[doc(hidden)]
pub use macros::__print;
#[doc(hidden)]
pub use system::Ebbtide;
