//! Steps: where what executes lets others go on, waits, or is interrupted.

use ebbtide_core::{System, trap};

use super::current;
use crate::contract::TIMER_VECTOR;

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
    take_interrupt();
}

/// Waits for what another CPU does.
pub(crate) fn spin() {
    pause("spins");
    take_interrupt();
}

/// Takes the interrupt that has come where the CPU stands.
fn take_interrupt() {
    let cpu = current().cpu();
    if cpu.takes.get() != 0 && cpu.interrupts.get() {
        (current().interrupt)();
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
        loop {
            world.cpu().waits_for.set(other as u8 + 1);
            pause("waits for an answer");
            world.cpu().waits_for.set(0);
            if world.cpu().takes.get() == 0 {
                return;
            }
            // It answers others meanwhile.
            take_interrupt();
        }
    }
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        current().cpu().stopped.set(true);
        pause("stands still");
    }
}

/// The interrupt that has come.
pub(crate) fn interrupt<S: System>() {
    let world = current();
    let cpu = world.cpu();
    cpu.interrupts.set(false);
    let vector = cpu.takes.replace(0) - 1;
    if vector == TIMER_VECTOR {
        world.books.now.set(world.books.now.get().max(cpu.armed.replace(0)));
    }
    if trap::interrupt::<S>(vector.into()) {
        trap::preempt::<S>(|| unreachable!("nobody looks how deep the thread was"));
    }
    // The CPU on which the thread goes on.
    current().cpu().interrupts.set(true);
}
