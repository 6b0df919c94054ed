//! Compares the clock with the machine's battery-backed one (RTC) over minutes, from a change of its seconds to another.
//!
//! Made for a virtual clock that counts instructions and skips idle time (`-icount`): there it takes a second or two.
//! The first word of the command line is the number of seconds.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};

use ebbtide::time::{Duration, Instant};
use ebbtide::{env, println, thread, time};

ebbtide::main!(main);

/// The drift that is allowed, in parts per million.
const MOST_PPM: u64 = 10_000;

fn main() -> Result<(), String> {
    let seconds = env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(200);
    let (start, start_rtc) = next_second()?;
    let mut last = start;
    // In pieces of many lengths, so that the timer is armed for short and for long times.
    for piece in [1, 2, 3, 5, 8, 13, 21].into_iter().cycle() {
        if last - start + Duration::from_secs(piece) >= Duration::from_secs(seconds) {
            break;
        }
        thread::sleep(Duration::from_secs(piece));
        let now = Instant::now();
        if now - last < Duration::from_secs(piece) {
            return Err(format!("slept {:?}, asked for {piece} s", now - last));
        }
        last = now;
    }
    let (end, end_rtc) = next_second()?;
    judge((end - start).as_micros() as u64, (end_rtc - start_rtc) * 1_000_000)
}

/// Waits for a change of the RTC's seconds; returns both times.
fn next_second() -> Result<(Instant, u64), String> {
    let rtc = || time::rtc_seconds().ok_or("the machine has no RTC".to_string());
    let before = rtc()?;
    let mut last = Instant::now();
    loop {
        let seconds = rtc()?;
        let now = Instant::now();
        if now < last {
            return Err(format!("{now:?} after {last:?}"));
        }
        last = now;
        if seconds != before {
            return Ok((now, seconds));
        }
        // Between looks, for a virtual clock that counts instructions is slow while any are carried out.
        thread::sleep(Duration::from_micros(500));
    }
}

/// Compares microseconds by the clock with microseconds by the RTC.
fn judge(ours: u64, rtc: u64) -> Result<(), String> {
    let ppm = ours.abs_diff(rtc) * 1_000_000 / rtc;
    println!("{} s by the RTC: the clock is off by {ppm} ppm", rtc / 1_000_000);
    if ppm < MOST_PPM { Ok(()) } else { Err(format!("{ours} us by the clock, {rtc} us by the RTC")) }
}
