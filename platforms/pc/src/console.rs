//! The console: COM1, a 16550 UART.
//!
//! Writers take no lock, so a panic or a trap may write in the middle of somebody else's line. No byte is lost by it:
//! a byte goes out only after the transmit FIFO was seen *empty*, and the FIFO holds 16, so up to 16 writers that
//! interrupt or race each other between that look and their byte all find room.
//!
//! No wait is unbounded. Where no UART answers, reads give all ones, which looks like "ready", and the bytes go
//! nowhere. A UART that stays busy is given about a second once; from then on one look per byte, until it is ready
//! again, so that a stuck console costs a run one pause and not one per byte.
#![expect(unsafe_code, reason = "ports are reached by their numbers")]

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};

use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::LSR;
use uart_16550::{BaudRate, Config, Uart16550};

/// First I/O port of COM1.
pub const COM1: u16 = 0x3f8;

/// How often a busy UART is asked before it is given up: about a second on hardware, where one read of a port takes a
/// microsecond, and far more than the 1.4 ms in which a full FIFO drains at 115200 baud.
const PATIENCE_POLLS: u32 = 1_000_000;

/// The driver, made anew for each use: what it remembers is of no use to writers that share nothing.
const UART: Uart16550<PioBackend> = {
    // SAFETY: 0x3f8 to 0x3ff are COM1 on every PC, and no other device.
    match unsafe { Uart16550::new_port(COM1) } {
        Ok(uart) => uart,
        Err(_) => panic!("the eight ports of COM1 are there"),
    }
};

/// Whether the UART was given up. Only a hint for how long to wait, so no ordering is needed.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Sets COM1 to 115200 baud, 8N1, FIFO on, interrupts off. A UART that is missing or busy for good is left as it is.
pub fn init() {
    let mut uart = UART;
    // The driver's `init` waits without bound for an empty transmitter, and writes nothing before: once it is seen
    // empty here, that wait is over at once.
    if wait_for(&mut uart, LSR::TRANSMITTER_EMPTY) {
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        // An error says that there is no UART, or one without a scratch register; `write` works for either.
        let _ = uart.init(config);
    }
}

/// Writes `bytes` as they are: a line ends with a line feed alone, so that the serial log is plain text.
pub fn write(bytes: &[u8]) {
    let mut uart = UART;
    for &byte in bytes {
        if wait_for(&mut uart, LSR::THR_EMPTY) {
            uart.send_bytes(&[byte]);
        }
    }
}

/// Waits until the last byte has left the UART, so that switching off cuts nothing.
pub fn flush() {
    let mut uart = UART;
    wait_for(&mut uart, LSR::TRANSMITTER_EMPTY);
}

/// Waits until the line status shows `flag`, and says whether it did.
fn wait_for(uart: &mut Uart16550<PioBackend>, flag: LSR) -> bool {
    let polls = if STUCK.load(Ordering::Relaxed) { 1 } else { PATIENCE_POLLS };
    for _ in 0..polls {
        if uart.lsr().contains(flag) {
            STUCK.store(false, Ordering::Relaxed);
            return true;
        }
        spin_loop();
    }
    STUCK.store(true, Ordering::Relaxed);
    false
}
