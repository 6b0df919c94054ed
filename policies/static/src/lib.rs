//! `static`: every stack is fully populated from the spawn of its thread to its end, as on Linux today.
//!
//! A switch does nothing for it, so this is what every other policy's work is measured against.

#![no_std]
#![forbid(unsafe_code)]

use ebbtide_core::stack::{NewStack, NoFrame, StackPolicy};

/// The policy.
#[derive(Debug)]
pub struct Static;

impl StackPolicy for Static {
    const NAME: &'static str = "static";

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_all()
    }
}
