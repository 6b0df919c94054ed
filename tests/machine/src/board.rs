//! The devices: a console that remembers, a clock that a step moves on, a timer for each CPU.
#![expect(unsafe_code, reason = "the platform's contract is unsafe")]

use ebbtide_core::cpu::PerCpu;
use ebbtide_core::platform::{Interrupt, Ipi, Platform};
use ebbtide_core::{System, VirtAddr};

use crate::baton::{end, step};
use crate::machine::current;
use crate::outcome::End;

/// The vector of the timer's interrupt.
pub(crate) const TIMER_VECTOR: u32 = 0x20;

/// The first vector of the interrupts of other CPUs.
pub(crate) const FIRST_IPI_VECTOR: u32 = 0x30;

fn vector_of(ipi: Ipi) -> u32 {
    FIRST_IPI_VECTOR
        + match ipi {
            Ipi::Stop => 0,
            Ipi::Shootdown => 1,
            Ipi::Reschedule => 2,
        }
}

/// The platform.
#[derive(Debug)]
pub struct Board;

// SAFETY: there are no devices; an interrupt has ended when its handler returns.
unsafe impl Platform for Board {
    fn init_console() {}

    fn write(bytes: &[u8]) {
        current().console.borrow_mut().push_str(&String::from_utf8_lossy(bytes));
    }

    fn init<S: System>() -> Result<(), &'static str> {
        Ok(())
    }

    fn cpus() -> u32 {
        current().cpus.len() as u32
    }

    fn start_cpu<S: System>(cpu: &'static PerCpu, _stack: VirtAddr) -> Result<(), &'static str> {
        step();
        current().cpus[cpu.number as usize].started.set(true);
        Ok(())
    }

    fn init_cpu<S: System>() -> Result<(), &'static str> {
        Ok(())
    }

    fn send_ipi(cpu: u32, ipi: Ipi) {
        step();
        let ipis = &current().cpus[cpu as usize].ipis;
        ipis.set(ipis.get() | 1 << (vector_of(ipi) - FIRST_IPI_VECTOR));
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
        let ipi = [Ipi::Reschedule, Ipi::Shootdown, Ipi::Stop].into_iter().find(|ipi| vector_of(*ipi) == vector);
        match (vector, ipi) {
            (TIMER_VECTOR, _) => Interrupt::Timer,
            (_, Some(ipi)) => Interrupt::Ipi(ipi),
            _ => Interrupt::Unexpected(vector),
        }
    }

    fn exit(code: u8) -> ! {
        end(End::Exit(code))
    }
}
