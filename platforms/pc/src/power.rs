//! The end of a run: QEMU's exit device, else the machine is switched off, else reset.
//!
//! Each step is taken because the one before left the machine running. QEMU ends at the first it knows: `isa-debug-exit`
//! at once, a power-off or a reset as soon as its main loop comes round, for which each step leaves it time.
#![expect(unsafe_code, reason = "ports are reached by their numbers; a triple fault needs an empty IDT")]

use core::hint::spin_loop;

use x86_64::VirtAddr;
use x86_64::instructions::port::PortWriteOnly;
use x86_64::instructions::{hlt, interrupts, tables};
use x86_64::structures::DescriptorTablePointer;

use crate::console;

/// `isa-debug-exit`, with `iobase=0xf4,iosize=0x04`: QEMU's status is twice the value, plus 1.
const DEBUG_EXIT: u16 = 0xf4;
/// Added to the code, so that no status below 33 can be ours (QEMU's own are 0 and 1).
const CODE_OFFSET: u32 = 16;
/// PM1a control registers: `pc` and `q35` with their usual firmware, and older QEMUs.
const PM1A_CONTROL: [u16; 2] = [0x604, 0xb004];
/// Sleep enable with sleep type 0: S5, off, on QEMU's machines.
const SLEEP_S5: u16 = 0x2000;
/// Command port of the 8042 keyboard controller.
const KEYBOARD_CONTROLLER: u16 = 0x64;
/// Pulses the CPU's reset line.
const PULSE_RESET: u8 = 0xfe;
/// Turns of a pause between two steps.
const SETTLE_SPINS: u32 = 1_000_000;

/// Ends the run with `code`; never returns and never hangs.
pub fn exit(code: u8) -> ! {
    interrupts::disable();
    console::flush();
    exit_device(code);
    power_off();
    reset();
    triple_fault()
}

/// Writes to QEMU's exit device. Where there is none, the write goes nowhere.
fn exit_device(code: u8) {
    // SAFETY: on a PC nothing but the exit device, if even that, listens at 0xf4 (the coprocessor's old range).
    unsafe { PortWriteOnly::<u32>::new(DEBUG_EXIT).write(u32::from(code) + CODE_OFFSET) };
}

/// Asks ACPI hardware for power-off, without the tables that would say where.
fn power_off() {
    for port in PM1A_CONTROL {
        // SAFETY: the machine is to go off; what else may listen there does not matter any more.
        unsafe { PortWriteOnly::<u16>::new(port).write(SLEEP_S5) };
        settle();
    }
}

/// Resets by the keyboard controller. With `-no-reboot` QEMU ends.
fn reset() {
    // SAFETY: the run is over, and a reset is what is wanted.
    unsafe { PortWriteOnly::<u8>::new(KEYBOARD_CONTROLLER).write(PULSE_RESET) };
    settle();
}

/// Resets by an exception that no gate takes.
fn triple_fault() -> ! {
    let none = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
    // SAFETY: that no handler runs any more is the purpose; interrupts are off.
    unsafe { tables::lidt(&none) };
    interrupts::int3();
    loop {
        // Not reached on a CPU that faults as its manual says.
        spin_loop();
        hlt();
    }
}

/// Gives QEMU's main loop time to act on the request.
fn settle() {
    for _ in 0..SETTLE_SPINS {
        spin_loop();
    }
}
