//! Steps: where what executes lets others go on, waits, or is interrupted.

use std::sync::atomic::Ordering;

use ebbtide_core::System;
use ebbtide_core::thread::{preempt, timer_interrupt};

use super::current;

/// A point at which others may go on, and where an interrupt may come.
pub(crate) fn step(what: &'static str) {
    let world = current();
    if !world.executing.get() || world.books.end.get() > 0 {
        return;
    }
    let alone = world.cpus.len() == 1 && world.walker.is_none();
    if alone && !world.cpu().interrupts.get() {
        // Nobody else could do anything.
        return;
    }
    pause(what);
    let cpu = world.cpu();
    if cpu.pending.get() && cpu.interrupts.get() {
        (world.interrupt)();
    }
}

/// Lets others go on.
pub(crate) fn pause(what: &'static str) {
    let world = current();
    if !world.executing.get() {
        panic!("{what}: the model itself waits");
    }
    let me = world.me();
    let cpu = world.running.get();
    world.note(|| format!("CPU {cpu}: {} {what}", world.name(me)));
    world.coroutines[me].pause();
}

/// Waits until a CPU answers a shootdown.
pub(crate) fn wait_for(other: usize) {
    let world = current();
    if other != world.running.get() {
        world.cpu().waits_for.set(other as u8 + 1);
        pause("waits for an answer");
        world.cpu().waits_for.set(0);
    }
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        current().cpu().halted.set(true);
        pause("stands still");
    }
}

/// The timer's interrupt.
pub(crate) fn interrupt<S: System>() {
    let world = current();
    let cpu = world.cpu();
    let idles = cpu.halted.get();
    cpu.interrupts.set(false);
    cpu.pending.set(false);
    world.books.now.set(world.books.now.get().max(cpu.armed.replace(0)));
    timer_interrupt::<S>();
    if !idles && world.per_cpu().need_resched.load(Ordering::Relaxed) {
        preempt::<S>();
    }
    // The CPU on which the thread goes on.
    current().cpu().interrupts.set(true);
}
