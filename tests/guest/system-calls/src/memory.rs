//! Kernel stacks of threads in user mode: asleep in a system call, spinning, and half of them each.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use ebbtide::user::{self, JoinHandle};
use ebbtide::{hint, stack, thread};
use ebbtide_figures::accounted;

/// How long a thread that spins has the CPU before this one takes it away again.
const TURN: Duration = Duration::from_micros(100);

/// Bytes of stack that the threads have in user mode: kernel stacks are what is looked at.
const USER_STACK_BYTES: usize = 4 << 10;

/// Pages of the kernel stacks of so many threads: when all sleep in a call, when half of them spin in user mode, and when all do.
/// Those that spin are never ended: others are there beside them, and what these have is taken off.
pub fn stacks(threads: usize) -> Result<[usize; 3], String> {
    let half = threads / 2;
    stack::settle();
    // The main thread's, which waits for the one that looks.
    let main = pages(0)?;
    let mut sleepers = spawn(threads, |()| user::park(None))?;
    stack::settle();
    let asleep = pages(threads)? - main;
    end(sleepers.split_off(half))?;
    stack::settle();
    let half_asleep = pages(half)?;
    spawn(threads - half, |()| spin())?;
    let mixed = after_a_turn_each(threads)? - main;
    spawn(half, |()| spin())?;
    let spinning = after_a_turn_each(threads + half)? - half_asleep;
    Ok([asleep, mixed, spinning])
}

fn spawn(count: usize, function: fn(())) -> Result<Vec<JoinHandle<()>>, String> {
    let one = |number| {
        let thread = user::Builder::new().user_stack_size(USER_STACK_BYTES).spawn(function, ());
        thread.map_err(|error| format!("thread {number} of {count}: {error}"))
    };
    (0..count).map(one).collect()
}

fn end(sleepers: Vec<JoinHandle<()>>) -> Result<(), String> {
    for sleeper in &sleepers {
        sleeper.thread().unpark();
    }
    sleepers.into_iter().try_for_each(|sleeper| sleeper.join().map_err(|error| format!("a thread asleep: {error}")))
}

fn spin() {
    loop {
        hint::spin_loop();
    }
}

/// Lets every thread that spins have a turn, and interrupts it there.
fn after_a_turn_each(threads: usize) -> Result<usize, String> {
    for _ in 0..2 * threads {
        thread::sleep(TURN);
    }
    pages(threads)
}

fn pages(threads: usize) -> Result<usize, String> {
    // The main thread's stack is one of them: it waits for this one.
    let (_, sample) = accounted(threads + 1)?;
    Ok(sample.stack)
}
