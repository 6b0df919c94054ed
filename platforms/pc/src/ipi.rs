//! Interrupts that one CPU sends another: the local APIC's interrupt command register (Intel SDM volume 3, 11.6.1 and
//! 11.12.9).
#![expect(unsafe_code, reason = "the x2APIC's command register is an MSR")]

use core::hint::spin_loop;

use ebbtide_core::platform::Ipi;
use x86_64::instructions::interrupts;
use x86_64::registers::model_specific::Msr;

use crate::cpus;
use crate::irq::{self, IPI_VECTORS, Register};

/// Highest identifier of a CPU that the xAPIC reaches; 255 means all.
const HIGHEST_XAPIC_ID: u32 = 254;

/// Looks at the delivery status before the interrupt before is taken for lost. One takes a microsecond at most, and a
/// message a few.
const LOOKS: u32 = 100_000;

const ASSERT: u32 = 1 << 14;
const SEND_PENDING: u32 = 1 << 12;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// An ordinary interrupt.
    Vector(u8),
    /// Puts the CPU into the state that it has after a reset, waiting to be started.
    Init,
    /// Starts the CPU at the page of this number.
    StartUp(u8),
    /// An interrupt that nothing masks.
    Nmi,
}

impl Message {
    /// The command's lower half: physical destination, edge-triggered.
    const fn command(self) -> u32 {
        ASSERT
            | match self {
                Self::Vector(vector) => vector as u32,
                Self::Nmi => 0b100 << 8,
                Self::Init => 0b101 << 8,
                Self::StartUp(page) => 0b110 << 8 | page as u32,
            }
    }
}

/// Says whether a CPU with this APIC identifier can be reached.
pub(crate) fn reaches(id: u32) -> bool {
    irq::is_x2apic() || id <= HIGHEST_XAPIC_ID
}

/// Sends a message to the CPU with this APIC identifier, which [`reaches`]. What was stored before is visible to its handler.
/// Returns once it is on its way.
pub(crate) fn send(id: u32, message: Message) {
    if irq::is_x2apic() {
        // SAFETY: the write of the MSR waits for no store (11.12.3); the two fences make it.
        unsafe { core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags)) };
        let command = u64::from(id) << 32 | u64::from(message.command());
        // SAFETY: x2APIC mode is on, where this MSR is the command register. Vectors have handlers; the callers start no
        // CPU that runs.
        unsafe { Msr::new(Register::COMMAND.msr()).write(command) };
        return;
    }
    // A handler may send as well: not between the two halves.
    interrupts::without_interrupts(|| {
        wait_until_sent();
        Register::COMMAND_HIGH.write(id << 24);
        Register::COMMAND.write(message.command());
    });
}

/// Interrupts a CPU in a way that nothing masks: for the images that test what happens then.
#[doc(hidden)]
pub fn send_unmaskable(cpu: u32) {
    send(cpus::apic_id(cpu), Message::Nmi);
}

/// Waits until the local APIC can take another message. Should one be stuck, the next is tried all the same.
fn wait_until_sent() {
    for _ in 0..LOOKS {
        if Register::COMMAND.read() & SEND_PENDING == 0 {
            return;
        }
        spin_loop();
    }
}

/// The vector of an interrupt between CPUs.
pub(crate) fn vector(ipi: Ipi) -> u8 {
    let [reschedule, shootdown, stop] = IPI_VECTORS.map(|(vector, _)| vector);
    match ipi {
        Ipi::Reschedule => reschedule,
        Ipi::Shootdown => shootdown,
        Ipi::Stop => stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_manual() {
        // Vector 7:0, delivery mode 10:8, physical 11, assert 14, edge 15, no shorthand 19:18.
        assert_eq!(Message::Init.command(), 0x4500);
        assert_eq!(Message::Nmi.command(), 0x4400);
        assert_eq!(Message::StartUp(0x9f).command(), 0x469f);
        assert_eq!(Message::Vector(0xf1).command(), 0x40f1);
    }

    #[test]
    fn each_vector_means_what_it_is_sent_for() {
        for (at, (number, ipi)) in IPI_VECTORS.into_iter().enumerate() {
            assert_eq!(vector(ipi), number);
            assert_eq!(number, 0xf0 + at as u8);
        }
    }
}
