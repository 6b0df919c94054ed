//! Ends the machine: with a code where QEMU has the device for it, by switching it off elsewhere.

#![expect(unsafe_code, reason = "writes to I/O ports, and faults on purpose at last")]

use core::arch::asm;

use x86_64::VirtAddr;
use x86_64::instructions::port::{Port, PortWrite};
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// QEMU's isa-debug-exit, where the tests put it; a value `v` ends QEMU with status `2v + 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// What is added to a code, so that no status of ours is one that QEMU uses itself.
const CODE_OFFSET: u32 = 16;

/// The power management ports of q35 and pc, then of older ones, and "sleep, type 0", which switches these off.
const POWER_MANAGEMENT: [u16; 2] = [0x604, 0xb004];
const POWER_OFF: u16 = 0x2000;

/// The keyboard controller's command port, and its command to pull the reset line.
const KEYBOARD_COMMAND: u16 = 0x64;
const PULL_RESET: u8 = 0xfe;

/// Ends the machine with `code`.
pub fn end(code: u32) -> ! {
    write(DEBUG_EXIT, code + CODE_OFFSET);
    for port in POWER_MANAGEMENT {
        write(port, POWER_OFF);
    }
    write(KEYBOARD_COMMAND, PULL_RESET);
    triple_fault()
}

fn write<T: PortWrite>(port: u16, value: T) {
    // SAFETY: these ports end the machine or do nothing; nothing is left to be harmed.
    unsafe { Port::new(port).write(value) }
}

/// Resets the machine by a fault that nothing can handle.
fn triple_fault() -> ! {
    let nothing = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
    // SAFETY: no interrupt is to be handled any more.
    unsafe { lidt(&nothing) };
    // SAFETY: without a table the trap resets the machine, as it should.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}
