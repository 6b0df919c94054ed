//! The console: a PL011.
//!
//! Writers take no lock, so a panic or a trap may write in the middle of somebody else's line. No byte is lost by it:
//! a byte goes out only after the transmit FIFO was seen *empty*, and the FIFO holds 16 at least, so up to 16 writers that
//! interrupt or race each other between that look and their byte all find room.
//!
//! No wait is unbounded. A port that stays busy is given about a second once; from then on one look per byte, until it is
//! ready again, so that a stuck console costs a run one pause and not one per byte.
#![expect(unsafe_code, reason = "the port is reached by its address")]

use core::hint::spin_loop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer};

/// How often a busy port is asked before it is given up: some second on hardware, and far more than the 1.4 ms in which a
/// full FIFO drains at 115200 baud.
const PATIENCE_POLLS: u32 = 1_000_000;

/// The speed of the line, and the clock that `virt`'s port divides for it, in Hz.
const BAUD: u32 = 115_200;
const CLOCK_HZ: u32 = 24_000_000;

/// Where the port is mapped; 0 as long as nobody knows, when writes go nowhere.
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Whether the port was given up. Only a hint for how long to wait, so no ordering is needed.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Goes on at another virtual address.
pub fn move_to(address: u64) {
    ADDRESS.store(address, Ordering::Relaxed);
}

/// Sets the port to 115200 baud, 8N1, FIFO on, interrupts off. One that is missing or busy for good is left as it is.
pub fn init() {
    let Some(mut port) = port() else { return };
    if wait_for(|| !port.is_busy()) {
        let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
        // It fails for speeds that the clock cannot give, and this one it can.
        let _ = port.enable(line, BAUD, CLOCK_HZ);
    }
}

/// Writes `bytes` as they are: a line ends with a line feed alone, so that the serial log is plain text.
pub fn write(bytes: &[u8]) {
    let Some(mut port) = port() else { return };
    for &byte in bytes {
        if wait_for(|| port.is_tx_fifo_empty()) {
            port.write_word(byte);
        }
    }
}

/// Waits until the last byte has left the port, so that switching off cuts nothing.
pub fn flush() {
    let Some(port) = port() else { return };
    wait_for(|| !port.is_busy());
}

/// The driver, made anew for each use: it remembers nothing but the address.
fn port() -> Option<Uart<'static>> {
    let address = ADDRESS.load(Ordering::Relaxed) as usize;
    let registers = NonNull::new(ptr::with_exposed_provenance_mut::<PL011Registers>(address))?;
    // SAFETY: the loader or the kernel's own tables map the port there, as a device. Other drivers of it may be in the
    // middle of a write; each access is one to a register, and any order of them is one of whole bytes.
    Some(Uart::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// Waits until the port is ready, and says whether it is.
fn wait_for(is_ready: impl Fn() -> bool) -> bool {
    let polls = if STUCK.load(Ordering::Relaxed) { 1 } else { PATIENCE_POLLS };
    for _ in 0..polls {
        if is_ready() {
            STUCK.store(false, Ordering::Relaxed);
            return true;
        }
        spin_loop();
    }
    STUCK.store(true, Ordering::Relaxed);
    false
}
