//! Whose turn it is. One CPU executes at a time; it hands over at steps, and nowhere else.

use std::rc::Rc;

use crate::machine::{Machine, current};
use crate::mmu::Walk;
use crate::outcome::End;
use crate::schedule::Fill;

/// How many rounds of interrupts that nobody asked for may pass, with every CPU waiting and no timer armed, until the
/// machine counts as hung.
const IDLE_ROUNDS: u32 = 8;

/// A point at which the machine may do what it likes. Every call into a contract is one.
pub(crate) fn step() {
    let machine = current();
    if machine.has_ended() {
        // A panic unwinds.
        return;
    }
    let steps = machine.steps.get() + 1;
    machine.steps.set(steps);
    if steps > machine.most_steps {
        end(End::Broken(format!("the run did not end within {steps} steps")));
    }
    machine.observe();
    if machine.frozen.get() {
        return;
    }
    machine.now.set(machine.now.get() + machine.dice.up_to(machine.habits.step_ns));
    speculate(machine);
    disturb(machine);
    if machine.dice.one_in(machine.habits.nmi_one_in) {
        (machine.traps.nmi)();
    }
    if machine.cpus.len() > 1 && machine.dice.one_in(machine.habits.cpu_changes_one_in) {
        pause();
    }
    take_interrupts();
}

/// Lets another CPU go on, perhaps. Interrupts are not taken here.
pub(crate) fn pause() {
    if !current().has_ended() {
        // What was done here is not taken for the next CPU's.
        current().observe_all();
    }
    current().context().pause();
}

/// Brings an interrupt that nobody asked for to some CPU, where it is taken when interrupts are on there.
fn disturb(machine: &Machine) {
    if !machine.quiet.get() && machine.dice.one_in(machine.habits.interrupt_one_in) {
        let cpu = &machine.cpus[machine.dice.pick(machine.cpus.len())];
        cpu.pending.set(cpu.started.get());
    }
}

/// Takes the interrupts that are due, if they are on.
pub(crate) fn take_interrupts() {
    let machine = current();
    // A handler may end on another CPU: its thread was preempted, and went on there.
    while machine.cpu().interrupts.get() && machine.cpu().is_interrupt_due(machine.now.get()) {
        (machine.traps.interrupt)();
    }
}

/// Ends the run, from within a context.
pub(crate) fn end(how: End) -> ! {
    current().end.borrow_mut().get_or_insert(how);
    halt()
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        current().context().pause();
    }
}

/// A CPU walks ahead of itself: a TLB takes an entry that is valid right now.
fn speculate(machine: &Machine) {
    let Fill::OneStepIn(n) = machine.habits.fill else { return };
    if !machine.dice.one_in(n) {
        return;
    }
    let cpu = &machine.cpus[machine.dice.pick(machine.cpus.len())];
    let page = {
        let checks = machine.checks.borrow();
        let mut pages = checks.pages.present();
        let count = pages.clone().count();
        if count > 0 { pages.nth(machine.dice.pick(count)) } else { None }
    };
    if let Some((page, _)) = page
        && cpu.online.get()
    {
        machine.walk(cpu, page, Walk::Ahead);
    }
}

/// Runs the machine to its end.
pub(crate) fn drive(machine: &Machine) -> End {
    let mut idle_rounds = 0;
    loop {
        if let Some(end) = machine.end.borrow_mut().take() {
            return end;
        }
        let Some(number) = next_cpu(machine) else {
            if !wait(machine, &mut idle_rounds) {
                return End::Hung;
            }
            continue;
        };
        if !machine.cpus[number].waiting.get() {
            idle_rounds = 0;
        }
        machine.running.set(number);
        machine.executing.set(true);
        let context = machine.cpus[number].context.borrow().as_ref().map(Rc::clone);
        context.expect("a CPU executes something from its boot on").resume();
        machine.executing.set(false);
    }
}

/// A CPU that has something to do.
fn next_cpu(machine: &Machine) -> Option<usize> {
    let now = machine.now.get();
    let started = machine.cpus.iter().filter(|cpu| cpu.started.get());
    let awake = started.filter(|cpu| !cpu.is_idle(now));
    let count = awake.clone().count();
    if count == 0 {
        return None;
    }
    awake.clone().nth(machine.dice.pick(count)).map(|cpu| cpu.number)
}

/// All CPUs wait: time passes until a timer fires. Without one, interrupts that nobody asked for come; returns false
/// once that has helped nobody.
fn wait(machine: &Machine, idle_rounds: &mut u32) -> bool {
    match machine.cpus.iter().filter_map(|cpu| cpu.deadline.get()).min() {
        Some(deadline) => machine.now.set(deadline.max(machine.now.get())),
        None => {
            *idle_rounds += 1;
            for cpu in &machine.cpus {
                cpu.pending.set(true);
            }
        }
    }
    *idle_rounds <= IDLE_ROUNDS
}
