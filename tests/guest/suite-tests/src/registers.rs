//! Registers, looked at from assembly: what a thread has in them is its own, whoever runs in between.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::sync::Arc;
use ebbtide::{provoke, stack, thread};

use crate::harness::Outcome;

tests![
    ; on one CPU:
    registers_survive_the_timer,
    registers_survive_a_yield,
];

/// One is odd and one is even: which flags are set depends on that.
const PATTERNS: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

fn switches() -> u64 {
    stack::counters().cache.switches
}

/// Two threads that never give way, each with a pattern of its own in all registers and flags.
fn registers_survive_the_timer() -> Outcome {
    const SWITCHES: u64 = 40;
    // Some milliseconds: most slices end within the loop.
    const TURNS: u64 = 1 << 21;
    let end = switches() + SWITCHES;
    let keep = |pattern| {
        move || {
            let mut changed = provoke::registers_changed_meanwhile(pattern, TURNS);
            while changed == 0 && switches() < end {
                changed = provoke::registers_changed_meanwhile(pattern, TURNS);
            }
            changed
        }
    };
    let threads = PATTERNS.map(|pattern| thread::spawn(keep(pattern)));
    for (thread, pattern) in threads.into_iter().zip(PATTERNS) {
        check_eq!(thread.join().unwrap(), 0, "registers of the thread with {pattern:#x} that changed, a bit for each");
    }
    Ok(())
}

extern "C" fn give_way() {
    thread::yield_now();
}

/// Two threads that give way to each other all the time.
fn registers_survive_a_yield() -> Outcome {
    const YIELDS: u64 = 10_000;
    let before = switches();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = PATTERNS
        .into_iter()
        .map(|pattern| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let changed = (0..YIELDS)
                    .map(|turn| provoke::registers_changed_by(pattern.wrapping_mul(2 * turn + 1), give_way))
                    .fold(0, |all, changed| all | changed);
                stop.store(true, Ordering::Release);
                changed
            })
        })
        .collect();
    // A third one, compiled code, in turn with them.
    while !stop.load(Ordering::Acquire) {
        thread::yield_now();
    }
    for (thread, pattern) in threads.into_iter().zip(PATTERNS) {
        check_eq!(thread.join().unwrap(), 0, "registers of the thread with {pattern:#x} that changed, a bit for each");
    }
    check!(switches() - before > 2 * YIELDS, "only {} switches", switches() - before);
    Ok(())
}
