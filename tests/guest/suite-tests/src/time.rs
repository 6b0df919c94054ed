//! Time: sleeping, and the clock.

use alloc::vec::Vec;
use core::array;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::sync::Arc;
use ebbtide::time::{Duration, Instant};
use ebbtide::{stack, thread};

use crate::cpus;
use crate::harness::{Outcome, is_counted, within_a_minute};
use crate::schedule::Log;

tests![
    instants_never_go_back,
    instants_never_go_back_across_switches,
    sleep_lasts_as_long_as_asked,
    the_cpu_idles_while_all_sleep,
    ; on one CPU:
    sleepers_wake_in_the_order_of_their_deadlines,
    a_time_slice_is_ten_milliseconds,
];

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

/// Of those that began to wait on one CPU: each CPU keeps its own timers, and a host may let one CPU run later than another.
///
/// On a busy host the deadlines may pass before all of them sleep, or a time slice may end between a thread's wake-up and
/// its note: then it says nothing, and once more, with more time. Where the clock counts instructions the order is strict.
fn sleepers_wake_in_the_order_of_their_deadlines() -> Outcome {
    let (begin, mut lead) = (Instant::now(), Duration::from_millis(60));
    let mut order = Vec::new();
    while within_a_minute(begin) {
        let log = Log::new(12);
        let start = Instant::now() + lead;
        let threads: Vec<_> = [5, 2, 8, 0, 11, 7, 1, 10, 3, 9, 4, 6]
            .map(|n: u8| {
                let log = log.clone();
                thread::spawn(move || {
                    let deadline = start + Duration::from_millis(3) * u32::from(n);
                    let asleep_at = Instant::now();
                    thread::sleep(deadline - asleep_at);
                    log.note(n);
                    (asleep_at < start, Instant::now() >= deadline)
                })
            })
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        check!(threads.iter().all(|(_, long)| *long), "some slept less than they asked for");
        if threads.iter().all(|(in_time, _)| *in_time) {
            order = log.read();
            if order.iter().copied().eq(0..12) {
                return Ok(());
            }
            check!(!is_counted(), "order of waking: {order:?}");
        }
        lead += lead / 4;
    }
    Err(alloc::format!("never in order in a minute; when last all slept in time: {order:?}"))
}

/// A host that takes the guest's CPU away for longer than the sleep leaves it no time to idle in: then once more. A CPU
/// that never idles never comes to an end here, which the time-out tells.
fn the_cpu_idles_while_all_sleep() -> Outcome {
    let before = stack::counters().halts;
    let mut halts = 0;
    while halts == 0 {
        thread::sleep(Duration::from_millis(10));
        halts = stack::counters().halts - before;
    }
    // Tickless: a wake-up for the sleeper, and few that refine the clock. When its CPU goes idle and frees what rests, each other one is
    // interrupted to forget these pages, and in an image that audits itself once more, to stand still.
    let most = 6 + 2 * cpus::count() as u64;
    check!(!is_counted() || halts <= most, "{halts} halts in 10 ms on {} CPUs", cpus::count());
    Ok(())
}

/// Two threads that spin share the CPU in slices. Each spins for a while, and until both have been without the CPU for
/// most of a slice.
fn a_time_slice_is_ten_milliseconds() -> Outcome {
    const MOST_OF_A_SLICE: Duration = Duration::from_millis(5);
    let start = Instant::now();
    let waited: Arc<[AtomicBool; 2]> = Arc::new(array::from_fn(|_| AtomicBool::new(false)));
    let spin = |me: usize| {
        let waited = Arc::clone(&waited);
        move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            let both = || waited.iter().all(|waited| waited.load(Ordering::Acquire));
            while start.elapsed() < Duration::from_millis(200) || !both() && within_a_minute(start) {
                let now = Instant::now();
                longest = longest.max(now - last);
                waited[me].fetch_or(longest >= MOST_OF_A_SLICE, Ordering::AcqRel);
                last = now;
            }
            longest
        }
    };
    let other = thread::spawn(spin(1));
    let gaps = [spin(0)(), other.join().unwrap()];
    for gap in gaps {
        // While the other one ran, for a slice.
        check!(gap >= MOST_OF_A_SLICE, "longest time without the CPU: {gap:?}");
        check!(!is_counted() || gap <= Duration::from_millis(11), "longest time without the CPU: {gap:?}");
    }
    Ok(())
}
