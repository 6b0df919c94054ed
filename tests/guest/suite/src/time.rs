//! Time: sleeping, and the clock.

use alloc::vec::Vec;

use ebbtide::stack;
use ebbtide::thread;
use ebbtide::time::{Duration, Instant};

use crate::harness::{Outcome, word};
use crate::schedule::Log;

tests![
    instants_never_go_back,
    instants_never_go_back_across_switches,
    sleep_lasts_as_long_as_asked,
    sleepers_wake_in_the_order_of_their_deadlines,
    the_cpu_idles_while_all_sleep,
    a_time_slice_is_ten_milliseconds,
];

/// Whether the clock counts instructions, so that no other load disturbs it.
fn is_counted() -> bool {
    word("icount").is_some()
}

fn instants_never_go_back() -> Outcome {
    let mut last = Instant::now();
    let start = last;
    for read in 0..100_000 {
        let now = Instant::now();
        check!(now >= last, "read {read}: {now:?} after {last:?}");
        last = now;
    }
    check!(last > start, "100,000 reads took no time");
    check_eq!(start.duration_since(last), Duration::ZERO, "a duration that would be negative");
    Ok(())
}

/// The frequency is refined by timer interrupts in the first 100 ms and more.
fn instants_never_go_back_across_switches() -> Outcome {
    let mut last = Instant::now();
    let end = last + Duration::from_millis(300);
    while last < end {
        let mut latest = last;
        for pause in [0, 0, 0, 1] {
            let there = thread::spawn(Instant::now).join().unwrap();
            thread::sleep(Duration::from_millis(pause));
            let here = Instant::now();
            check!(there >= latest && here >= there, "{latest:?}, then {there:?}, then {here:?}");
            latest = here;
        }
        last = latest;
    }
    Ok(())
}

fn sleep_lasts_as_long_as_asked() -> Outcome {
    for nanos in [0, 1, 1_000, 50_000, 1_000_000, 3_333_333, 20_000_000, 120_000_000] {
        let asked = Duration::from_nanos(nanos);
        let start = Instant::now();
        thread::sleep(asked);
        let slept = start.elapsed();
        check!(slept >= asked, "slept {slept:?}, asked for {asked:?}");
        // On a busy host it may be anything longer.
        let most = asked + Duration::from_micros(100);
        check!(!is_counted() || slept < most, "slept {slept:?}, asked for {asked:?}");
    }
    Ok(())
}

fn sleepers_wake_in_the_order_of_their_deadlines() -> Outcome {
    // On a busy host the deadlines may pass before all of them sleep: then it says nothing.
    for _ in 0..10 {
        let log = Log::new(12);
        let start = Instant::now() + Duration::from_millis(60);
        let threads: Vec<_> = [5, 2, 8, 0, 11, 7, 1, 10, 3, 9, 4, 6]
            .map(|n: u8| {
                let log = log.clone();
                thread::spawn(move || {
                    let deadline = start + Duration::from_millis(3) * u32::from(n);
                    let asleep_at = Instant::now();
                    thread::sleep(deadline - asleep_at);
                    log.note(n);
                    asleep_at < start && Instant::now() >= deadline
                })
            })
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        if threads.iter().all(|in_time| *in_time) {
            check!(log.read().iter().copied().eq(0..12), "order of waking: {:?}", log.read());
            return Ok(());
        }
    }
    Err("in none of ten attempts all slept in time, and as long as asked".into())
}

/// A host that takes the guest's CPU away for longer than the sleep leaves it no time to idle in: then once more. A CPU
/// that never idles never comes to an end here, which the time-out tells.
fn the_cpu_idles_while_all_sleep() -> Outcome {
    let before = stack::counters().idle_passes;
    let mut passes = 0;
    while passes == 0 {
        thread::sleep(Duration::from_millis(10));
        passes = stack::counters().idle_passes - before;
    }
    // Tickless: a wake-up for the sleeper, and few that refine the clock.
    check!(!is_counted() || passes <= 8, "{passes} idle passes in 10 ms");
    Ok(())
}

/// Two threads that spin share the CPU in slices.
fn a_time_slice_is_ten_milliseconds() -> Outcome {
    let spin = || {
        let start = Instant::now();
        let (mut last, mut longest) = (start, Duration::ZERO);
        while start.elapsed() < Duration::from_millis(200) {
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        longest
    };
    let other = thread::spawn(spin);
    let gaps = [spin(), other.join().unwrap()];
    for gap in gaps {
        // While the other one ran, for a slice.
        check!(gap >= Duration::from_millis(5), "longest time without the CPU: {gap:?}");
        check!(!is_counted() || gap <= Duration::from_millis(11), "longest time without the CPU: {gap:?}");
    }
    Ok(())
}
