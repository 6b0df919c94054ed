//! The first serial port: a PL011.

#![expect(unsafe_code, reason = "drives a device at an address that the device tree names")]

use core::fmt;
use core::hint::spin_loop;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer};

/// Where QEMU's `virt` has it: for what is said before the device tree was read.
const VIRT: usize = 0x900_0000;

/// 115200 baud from the clock that `virt` names, in Hz. Without a line, any speed will do.
const BAUD: u32 = 115_200;
const CLOCK_HZ: u32 = 24_000_000;

/// How often a busy port is asked before what is written goes nowhere: far longer than a full FIFO takes to drain.
const PATIENCE_POLLS: u32 = 1_000_000;

static ADDRESS: AtomicUsize = AtomicUsize::new(VIRT);

/// Writes text to the serial port. It keeps no state, so that a panic can write in the middle of anything.
#[derive(Clone, Copy, Debug)]
pub struct Console;

/// Sets the serial port up.
pub fn init() {
    let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
    let _ = port().enable(line, BAUD, CLOCK_HZ);
}

/// Goes on at another address, as the device tree says.
pub fn move_to(address: u64) {
    if ADDRESS.swap(address as usize, Ordering::Relaxed) != address as usize {
        init();
    }
}

/// Returns the serial port's physical address.
#[must_use]
pub fn address() -> u64 {
    ADDRESS.load(Ordering::Relaxed) as u64
}

/// Waits until the last byte has left the port, so that switching off cuts nothing.
pub fn flush() {
    let port = port();
    wait_until(|| !port.is_busy());
}

fn port() -> Uart<'static> {
    let address = ptr::with_exposed_provenance_mut::<PL011Registers>(address() as usize);
    let registers = NonNull::new(address).expect("no device lies at 0");
    // SAFETY: the port lies there, mapped as a device; nothing else runs that could drive it.
    Uart::new(unsafe { UniqueMmioPointer::new(registers) })
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..PATIENCE_POLLS {
        if condition() {
            return;
        }
        spin_loop();
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut port = port();
        let mut send = |byte: u8| {
            wait_until(|| !port.is_tx_fifo_full());
            port.write_word(byte);
        };
        for byte in text.bytes() {
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}
