//! What a preemption takes, seen from the two threads that it happens to.
//!
//! Both read the counter in a loop, and note the last reading before and the first after each gap:
//!
//! ```text
//!   one thread     r r r r last                                              first r r r
//!                              x instructions, then the timer interrupt …
//!   the other               …  last …                    first r r r r last
//! ```
//!
//! From one's last reading to the other's first there are three stretches: what is left of one's turn of the loop when
//! the interrupt comes, the way from the interrupt to the other's next instruction, and what is left of the other's
//! turn, which an interrupt had cut short before. Each turn that is cut is counted once at its beginning and once at its end, so
//! together the cut turns of two successive gaps come to two whole ones: the mean less one turn is the way itself.
//!
//! A timer interrupt that ends no slice (it may come early, or for a thread that sleeps) makes one turn longer, and is no
//! gap: in a gap the other thread has run. A gap in which a third thread has run too (the reclaimer of some policies) counts for nothing: on
//! one of its two ways there is more than a preemption.

use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};

use ebbtide::stack;
use ebbtide::thread;
use ebbtide::time::counter;
use ebbtide_figures::Mean;

/// Readings that lie further apart, in instructions, have a gap between them: the other thread had the CPU for a slice, of
/// 10 ms.
const GAP_INSNS: u64 = 1_000_000;

/// The most that a preemption may take: in anything above something else came between, as an audit of the whole machine does at some
/// switches.
const MOST_INSNS: u64 = 100_000;

/// Whether enough has been seen.
static DONE: AtomicBool = AtomicBool::new(false);

/// A gap in a thread's readings.
struct Gap {
    /// The length of a turn, in instructions.
    turn: u64,
    /// The last reading before.
    last: u64,
    /// The first reading after.
    first: u64,
    /// Whether all that happened was a switch to the other and one back.
    plain: bool,
}

/// The mean of what a preemption takes, in instructions, from the timer interrupt to the other thread's next one. This
/// thread is preempted `preemptions` times.
pub fn preemptions(preemptions: usize) -> Mean {
    assert!(preemptions >= 2, "a preemption to this thread and one to the other need two");
    let partner = thread::spawn(move || {
        let gaps = read_on(preemptions - 1);
        // Whole slices until the last gap of the other thread is over.
        while !DONE.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
        gaps
    });
    let mine = read_on(preemptions);
    DONE.store(true, Ordering::Relaxed);
    let others = partner.join().expect("a panic ends the run");
    // The partner began when this thread was first preempted, so each of its gaps follows one of this thread's.
    let to_me = mine.iter().zip(&others).map(|(mine, other)| (other, mine));
    let to_other = mine.iter().skip(1).zip(&others);
    let plain = to_me.chain(to_other).filter(|(from, to)| from.plain && to.plain);
    let ways: Vec<_> = plain.map(|(from, to)| way(from, to)).filter(|way| *way < MOST_INSNS).collect();
    assert!(ways.len() >= preemptions, "something came between in most of the gaps: {} ways are left", ways.len());
    Mean::new(ways.iter().sum(), ways.len() as u64)
}

/// From one thread's last reading to the other's first, less a turn of the loop.
fn way(from: &Gap, to: &Gap) -> u64 {
    assert_eq!(from.turn, to.turn, "turns of the loop differ, so the cut ones do not make up whole ones");
    to.first.checked_sub(from.last + from.turn).expect("the other ran after this one")
}

/// Reads the counter until there were so many gaps.
#[inline(never)]
fn read_on(wanted: usize) -> Vec<Gap> {
    let mut gaps = Vec::with_capacity(wanted);
    let mut switches = stack::counters().cache.switches;
    let (mut turn, mut last) = (u64::MAX, counter());
    while gaps.len() < wanted {
        let first = loop {
            let now = counter();
            if now - last > GAP_INSNS {
                break now;
            }
            // The shortest is one that nothing interrupted.
            turn = turn.min(now - last);
            last = now;
        };
        // The interrupt that ended this thread's slice switched to the other one, whose slice's end switched back.
        let before = mem::replace(&mut switches, stack::counters().cache.switches);
        gaps.push(Gap { turn, last, first, plain: switches - before == 2 });
        last = first;
    }
    gaps
}
