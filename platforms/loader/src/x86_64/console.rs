//! The first serial port, COM1.

#![expect(unsafe_code, reason = "drives a device at a fixed I/O port")]

use core::fmt;

use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};

/// The I/O port of COM1.
pub const COM1: u16 = 0x3f8;

/// Writes text to COM1. It keeps no state, so that a panic can write in the middle of anything.
#[derive(Clone, Copy, Debug)]
pub struct Console;

/// Sets the serial port up. Without one, what is written goes nowhere.
pub fn init() {
    let _ = com1().init(Config::default());
}

fn com1() -> Uart16550<PioBackend> {
    // SAFETY: COM1 has this port on every machine of the PC's kind, and nothing else runs that could drive it.
    unsafe { Uart16550::new_port(COM1) }.expect("COM1 is a valid base port")
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut port = com1();
        text.split_inclusive('\n').for_each(|line| {
            let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\r\n"));
            port.send_bytes_exact(text.as_bytes());
            port.send_bytes_exact(end.as_bytes());
        });
        Ok(())
    }
}
