//! Ways into the kernel whose stacks are known: threads that go down so many calls of some size, one that is preempted, one that calls from user
//! mode, and a breakpoint. What is told of them at the end (`ebbtide.report=chains`), and meanwhile (`ebbtide.top`), is for the host to judge.

use alloc::format;
use alloc::string::{String, ToString};
use core::hint::black_box;
use core::time::Duration;

use ebbtide::thread::{self, Builder};
use ebbtide::time::Instant;
use ebbtide::{provoke, user};

/// Calls itself so often, each time with a kilobyte and what `black_box` takes, and sleeps there.
fn dig(times: u64) -> u64 {
    let hole = black_box([times; 128]);
    if times == 0 {
        thread::sleep(Duration::from_millis(1));
    } else {
        dig(times - 1);
    }
    black_box(hole)[127]
}

/// Longer than a time slice.
const SPIN: Duration = Duration::from_millis(25);

fn spin() {
    let begin = Instant::now();
    while begin.elapsed() < SPIN {
        (0..1_000).for_each(|turn| _ = black_box(turn));
    }
}

pub fn main() -> Result<(), String> {
    // The deepest of them is neither the first nor the last.
    for times in [1, 5, 3] {
        let digger = Builder::new().name(format!("digger {times}")).spawn(move || dig(times));
        digger.map_err(|error| error.to_string())?.join().unwrap();
    }
    let spinner = || Builder::new().name("spinner".to_string()).spawn(spin).map_err(|error| error.to_string());
    let spinners = [spinner()?, spinner()?];
    spinners.into_iter().for_each(|spinner| spinner.join().unwrap());
    provoke::breakpoint();
    let user = user::Builder::new()
        .name("user".to_string())
        .spawn(|rounds: u64| (0..rounds).for_each(|_| user::yield_now()), 3);
    user.map_err(|error| error.to_string())?.join().map_err(|ended| ended.to_string())
}
