//! The devices: a console that remembers, a clock that a step moves on, a timer for each CPU.
#![expect(unsafe_code, reason = "the platform's contract is unsafe")]

use ebbtide_core::platform::{Interrupt, Platform};

use crate::baton::{end, step};
use crate::machine::current;
use crate::outcome::End;

/// The vector of the timer's interrupt.
pub(crate) const TIMER_VECTOR: u32 = 0x20;

/// The platform.
#[derive(Debug)]
pub struct Board;

// SAFETY: there are no devices; an interrupt has ended when its handler returns.
unsafe impl Platform for Board {
    fn init_console() {}

    fn write(bytes: &[u8]) {
        current().console.borrow_mut().push_str(&String::from_utf8_lossy(bytes));
    }

    fn init<S: ebbtide_core::System>() -> Result<(), &'static str> {
        Ok(())
    }

    fn now() -> u64 {
        step();
        current().now.get()
    }

    fn arm_timer(deadline: Option<u64>) {
        step();
        current().cpu().deadline.set(deadline);
    }

    fn interrupt(vector: u32) -> Interrupt {
        if vector == TIMER_VECTOR { Interrupt::Timer } else { Interrupt::Unexpected(vector) }
    }

    fn exit(code: u8) -> ! {
        end(End::Exit(code))
    }
}
