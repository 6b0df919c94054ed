//! The atomics of core's lock-free parts: the hardware's, or loom's.
//!
//! A thread's state word and the leaf entries of stacks are settled by single atomic operations between parties that
//! never wait for each other. No test on a host finds every order in which these can meet; loom does, by carrying out
//! the same code once for each of them, with atomics of its own. So this module, and no other (`cargo xtask lint` sees
//! to it), asks for `cfg(loom)`: whoever takes the atomics from here is written once.
//!
//! What loom cannot give is a `const fn` that makes an atomic, so nothing that is made of these is a static.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

pub use core::sync::atomic::Ordering;

#[cfg(all(test, loom))]
mod models;
