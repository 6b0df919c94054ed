//! Ebbtide's core: scheduler, threads, stack slots, the per-CPU stack cache, memory, sync, and the contracts.
//!
//! Core knows no architecture, no machine and no policy: it is generic over a [`System`], and the composition root
//! (`platforms/unikernel`) chooses one. Start with [`arch`], [`platform`] and [`stack::StackPolicy`] for the
//! contracts, and with `thread::schedule` for the life of a switch.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod arch;
pub mod audit;
pub mod backtrace;
pub mod boot;
pub mod console;
pub mod cpu;
mod deadlock;
pub mod kernel;
mod logger;
pub mod memory;
#[doc(hidden)]
pub mod model;
pub mod platform;
pub mod provoke;
pub mod report;
pub mod secondary;
pub mod settings;
pub mod shootdown;
pub mod stack;
pub mod start;
mod stop;
pub mod sync;
pub mod system;
pub mod thread;
pub mod time;
pub mod trap;
pub mod user;

pub use arch::Arch;
pub use kernel::Kernel;
pub use memory_addresses::{MemoryAddress, PhysAddr, VirtAddr};
pub use platform::Platform;
pub use stack::StackPolicy;
pub use system::System;
