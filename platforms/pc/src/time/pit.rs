//! Channel 2 of the 8254 timer, as a one-shot that nobody waits for: a ruler of known length beside the TSC.
//!
//! Intel's 8254 data sheet, mode 0: after the count is written, the counter goes down to 0, the output goes high, and
//! the counter goes on from 0xffff. The read-back command latches count and status together, and the status holds the
//! output: unlike bit 5 of port 0x61, it is there on machines without that port (`microvm`), too.
#![expect(unsafe_code, reason = "ports are reached by their numbers")]

use x86_64::instructions::port::{Port, PortWriteOnly};

use super::estimate::Reading;
use super::tsc;

/// Ticks in a second.
pub const HZ: u64 = 1_193_182;

/// Ticks that the one-shot takes, 54.9 ms.
const COUNT: u16 = 0xffff;

const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;

/// Port 0x61: the gate of channel 2; the way of its output to the speaker.
const GATE_ON: u8 = 1 << 0;
const SPEAKER_ON: u8 = 1 << 1;

/// Channel 2, low byte then high byte, mode 0, binary.
const ONE_SHOT: u8 = 0b1011_0000;
/// Latches count and status of channel 2.
const READ_BACK: u8 = 0b1100_1000;

/// Status: the output.
const OUTPUT: u8 = 1 << 7;
/// Status: the count was written, but not taken over yet.
const NULL_COUNT: u8 = 1 << 6;
/// Status: how the channel is set, as in the command.
const SETTING: u8 = 0x3f;

/// What the channel showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Ticks since the start.
    Running(Reading),
    /// More than [`COUNT`] ticks since the start.
    Expired,
    /// There is no 8254.
    Absent,
}

/// Starts the one-shot. Returns its first reading.
pub fn start() -> Reading {
    let mut gate = Port::<u8>::new(GATE);
    // SAFETY: reads the system control port; the read acknowledges nothing.
    let control = unsafe { gate.read() };
    // SAFETY: lets channel 2 count, silently. The other writable bits are kept.
    unsafe { gate.write((control & 0x0f & !SPEAKER_ON) | GATE_ON) };
    // SAFETY: sets channel 2, which nothing else uses and which raises no interrupt.
    unsafe { PortWriteOnly::<u8>::new(COMMAND).write(ONE_SHOT) };
    let [low, high] = COUNT.to_le_bytes();
    let mut channel = PortWriteOnly::<u8>::new(CHANNEL_2);
    // SAFETY: the low byte of the count, as the command announced.
    unsafe { channel.write(low) };
    let before = tsc();
    // SAFETY: the high byte, which starts the count.
    unsafe { channel.write(high) };
    Reading { before, after: tsc(), count: 0 }
}

/// Reads the one-shot.
pub fn read() -> State {
    let before = tsc();
    // SAFETY: latches what the three reads below take out.
    unsafe { PortWriteOnly::<u8>::new(COMMAND).write(READ_BACK) };
    let after = tsc();
    let [status, low, high] = core::array::from_fn(|_| {
        // SAFETY: takes one latched byte out: status, low byte, high byte.
        unsafe { Port::<u8>::new(CHANNEL_2).read() }
    });
    decode(status, u16::from_le_bytes([low, high]), before, after)
}

fn decode(status: u8, count: u16, before: u64, after: u64) -> State {
    if status & SETTING != ONE_SHOT & SETTING {
        return State::Absent;
    }
    if status & OUTPUT != 0 {
        return State::Expired;
    }
    let elapsed = if status & NULL_COUNT != 0 { 0 } else { COUNT - count };
    State::Running(Reading { before, after, count: elapsed.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_running_expired_and_absent() {
        let running = |count| State::Running(Reading { before: 1, after: 2, count });
        assert_eq!(decode(0x30, 0xffff, 1, 2), running(0));
        assert_eq!(decode(0x30, 0xff00, 1, 2), running(0xff));
        assert_eq!(decode(0x30 | NULL_COUNT, 0x1234, 1, 2), running(0));
        assert_eq!(decode(0x30 | OUTPUT, 0xfff0, 1, 2), State::Expired);
        assert_eq!(decode(0xff, 0xffff, 1, 2), State::Absent);
        assert_eq!(decode(0x00, 0x0000, 1, 2), State::Absent);
    }
}
