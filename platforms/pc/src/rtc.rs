//! The CMOS clock: seconds since 1970, to judge the drift of our own clock by.
//!
//! Registers as in the MC146818 data sheet; the century is at 0x32, where ACPI's table puts it on every PC. The clock
//! takes up to 2 ms once a second to update its registers, during which they read as anything: a read counts only if
//! no update is announced and a second read gives the same.
#![expect(unsafe_code, reason = "ports are reached by their numbers")]

use core::hint::spin_loop;

use x86_64::instructions::interrupts;
use x86_64::instructions::port::{Port, PortWriteOnly};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const CENTURY: u8 = 0x32;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
const AFTERNOON: u8 = 1 << 7;

/// Reads of the status that an update may take; it ends within 2.3 ms, and a read takes a fraction of a microsecond
/// at least.
const UPDATE_POLLS: u32 = 100_000;
/// Attempts at two equal reads. A second one is needed only across the end of a second.
const ATTEMPTS: u32 = 8;

/// What the registers held: seconds, minutes, hours, day, month, year, century, status B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registers {
    seconds: u8,
    minutes: u8,
    hours: u8,
    day: u8,
    month: u8,
    year: u8,
    century: u8,
    status: u8,
}

/// Reads the clock: seconds since 1970-01-01 00:00:00, leap seconds not counted. `None` where there is no such clock,
/// or none that gives a date.
pub fn seconds() -> Option<u64> {
    let mut last = read()?;
    for _ in 0..ATTEMPTS {
        let again = read()?;
        if again == last {
            return last.seconds_since_1970();
        }
        last = again;
    }
    None
}

/// Reads all registers once no update is announced.
fn read() -> Option<Registers> {
    for _ in 0..UPDATE_POLLS {
        if register(STATUS_A) & UPDATE_IN_PROGRESS == 0 {
            return Some(Registers {
                seconds: register(0),
                minutes: register(2),
                hours: register(4),
                day: register(7),
                month: register(8),
                year: register(9),
                century: register(CENTURY),
                status: register(STATUS_B),
            });
        }
        spin_loop();
    }
    None
}

/// Reads one register.
fn register(number: u8) -> u8 {
    // An interrupt between index and data might use the pair itself.
    interrupts::without_interrupts(|| {
        // SAFETY: selects a register for the next access, no more. Bit 7 stays clear, so NMIs are not held back.
        unsafe { PortWriteOnly::<u8>::new(INDEX).write(number) };
        // SAFETY: none of the registers that this module names changes by being read.
        unsafe { Port::<u8>::new(DATA).read() }
    })
}

impl Registers {
    /// Decodes the date, which is `None` if it is none.
    fn seconds_since_1970(self) -> Option<u64> {
        let hours = self.hour()?;
        let minutes = self.number(self.minutes).filter(|&value| value < 60)?;
        let seconds = self.number(self.seconds).filter(|&value| value < 60)?;
        let day = self.number(self.day).filter(|value| (1..=31).contains(value))?;
        let month = self.number(self.month).filter(|value| (1..=12).contains(value))?;
        let year = self.number(self.year).filter(|&value| value < 100)?;
        // The century register is BCD even in binary mode on some machines, and missing on others.
        let century = match self.century {
            0x19 | 19 => 19,
            _ => 20,
        };
        let days = days_since_1970(century * 100 + year, month, day)?;
        Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    }

    fn hour(self) -> Option<u64> {
        let hours = if self.status & HOURS_24 != 0 {
            self.number(self.hours)?
        } else {
            let afternoon = if self.hours & AFTERNOON != 0 { 12 } else { 0 };
            self.number(self.hours & !AFTERNOON).filter(|hour| (1..=12).contains(hour))? % 12 + afternoon
        };
        (hours < 24).then_some(hours)
    }

    /// The number that a register holds: binary, or two decimal digits.
    fn number(self, value: u8) -> Option<u64> {
        if self.status & BINARY != 0 {
            return Some(value.into());
        }
        let (tens, ones) = (value >> 4, value & 0xf);
        (tens < 10 && ones < 10).then(|| u64::from(tens * 10 + ones))
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted in years that begin in March, so that the leap day
/// comes last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, months_since_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_of_years = year * 365 + year / 4 - year / 100 + year / 400;
    let days_of_months = (153 * months_since_march + 2) / 5;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    (days_of_years + days_of_months + day - 1).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCD: Registers = Registers {
        seconds: 0x56,
        minutes: 0x34,
        hours: 0x12,
        day: 0x29,
        month: 0x02,
        year: 0x24,
        century: 0x20,
        status: HOURS_24,
    };

    #[test]
    fn decodes_bcd_and_binary() {
        // 2024-02-29 12:34:56
        assert_eq!(BCD.seconds_since_1970(), Some(1_709_210_096));
        let binary = Registers {
            seconds: 56,
            minutes: 34,
            hours: 12,
            day: 29,
            month: 2,
            year: 24,
            century: 20,
            status: HOURS_24 | BINARY,
        };
        assert_eq!(binary.seconds_since_1970(), Some(1_709_210_096));
    }

    #[test]
    fn decodes_twelve_hours() {
        let noon = Registers { hours: AFTERNOON | 0x12, status: 0, ..BCD };
        assert_eq!(noon.hour(), Some(12));
        let midnight = Registers { hours: 0x12, status: 0, ..BCD };
        assert_eq!(midnight.hour(), Some(0));
        let evening = Registers { hours: AFTERNOON | 11, status: BINARY, ..BCD };
        assert_eq!(evening.hour(), Some(23));
    }

    #[test]
    fn counts_days() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(1969, 12, 31), None);
        assert_eq!(days_since_1970(2000, 3, 1), Some(11_017));
        assert_eq!(days_since_1970(2026, 1, 1), Some(20_454));
        assert_eq!(days_since_1970(2100, 3, 1), days_since_1970(2100, 2, 28).map(|days| days + 1));
    }

    #[test]
    fn refuses_what_is_no_date() {
        // All ones is what a missing clock reads as.
        let missing = Registers {
            seconds: 0xff,
            minutes: 0xff,
            hours: 0xff,
            day: 0xff,
            month: 0xff,
            year: 0xff,
            century: 0xff,
            status: 0xff,
        };
        assert_eq!(missing.seconds_since_1970(), None);
        assert_eq!(Registers { month: 0, ..BCD }.seconds_since_1970(), None);
        assert_eq!(Registers { hours: 0x24, ..BCD }.seconds_since_1970(), None);
        assert_eq!(Registers { minutes: 0x1a, ..BCD }.seconds_since_1970(), None);
    }
}
