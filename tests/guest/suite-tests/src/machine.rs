//! Traps that a run survives, counters that must stay at 0, the command line.

use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;

use ebbtide::time::Duration;
use ebbtide::{env, provoke, stack, thread};

use crate::harness::{Outcome, word};

tests![
    breakpoints_are_survived,
    interrupts_that_cannot_be_masked_are_survived,
    traps_leave_a_deep_stack_alone,
    arguments_are_the_apps_own,
    nothing_unexpected_interrupted,
    no_stack_page_faulted,
];

/// Interrupts are on again, timers run, and other threads get their turn.
fn all_is_well() -> Outcome {
    thread::sleep(Duration::from_millis(1));
    check_eq!(thread::spawn(|| 5).join().unwrap(), 5, "a thread after the trap");
    Ok(())
}

fn breakpoints_are_survived() -> Outcome {
    for _ in 0..3 {
        let before: [u64; 12] = black_box(core::array::from_fn(|n| n as u64 * 0x0101_0101_0101));
        provoke::breakpoint();
        check_eq!(before, core::array::from_fn(|n| n as u64 * 0x0101_0101_0101), "values across the trap");
    }
    thread::spawn(provoke::breakpoint).join().unwrap();
    all_is_well()
}

fn interrupts_that_cannot_be_masked_are_survived() -> Outcome {
    for _ in 0..3 {
        provoke::unmaskable_interrupt();
    }
    thread::spawn(provoke::unmaskable_interrupt).join().unwrap();
    all_is_well()
}

/// A trap needs nothing of the interrupted thread's stack.
fn traps_leave_a_deep_stack_alone() -> Outcome {
    let thread = thread::Builder::new().stack_size(8 << 10).spawn(|| {
        // What lies below the stack pointer is not the trap's to use either, but nobody may look; above it all stays.
        let frame = black_box([0x5a_u8; 5 << 10]);
        provoke::breakpoint();
        provoke::unmaskable_interrupt();
        black_box(&frame).iter().all(|byte| *byte == 0x5a)
    });
    let thread = thread.map_err(crate::harness::failed("spawn"))?;
    check!(thread.join().unwrap(), "the frame was changed");
    all_is_well()
}

fn arguments_are_the_apps_own() -> Outcome {
    let args: Vec<String> = env::args().collect();
    check_eq!(args.first().map(|name| &**name), Some("suite"), "the first argument");
    check!(!args.iter().any(|word| word.starts_with("ebbtide.")), "the kernel's words are among {args:?}");
    check_eq!(env::args().len(), args.len(), "the length that is told");
    if let Some(greeting) = word("greeting") {
        check_eq!(greeting, "two words", "a quoted word");
    }
    Ok(())
}

fn nothing_unexpected_interrupted() -> Outcome {
    check_eq!(stack::counters().unexpected_interrupts, 0, "interrupts that nobody asked for");
    Ok(())
}

fn no_stack_page_faulted() -> Outcome {
    // Those that make a stack grow are not among them.
    check_eq!(stack::counters().stack_faults, 0, "stack faults");
    check!(stack::GROWS_ON_FAULT == (stack::counters().growth_faults > 0), "faults that make stacks grow");
    Ok(())
}
