//! Traps: the timer's interrupt, the one that nothing masks, and the page fault, on a stack of each CPU's own.

use ebbtide_core::arch::{Switch, Traps};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::report::Place;
use ebbtide_core::stack::StackError;
use ebbtide_core::{System, VirtAddr, trap};

use crate::board::{FIRST_IPI_VECTOR, TIMER_VECTOR};
use crate::machine::current;
use crate::mmu::Use;
use crate::switch::Record;
use crate::system::Simulated;

/// Bytes of a trap stack.
const TRAP_STACK_BYTES: u64 = 8 << 10;

/// The number of a page fault, behind those of interrupts.
const PAGE_FAULT: u64 = u32::MAX as u64 + 1;

/// Words of a trap frame.
const FRAME_WORDS: u64 = 24;

/// What the machine calls of core, for its system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handlers {
    pub interrupt: fn(),
    pub nmi: fn(),
    pub page_fault: fn(u64, Use),
    pub access_fault: fn(u64, Use),
}

impl Handlers {
    pub fn of<S: System>() -> Self {
        Self { interrupt: interrupt::<S>, nmi, page_fault: page_fault::<S>, access_fault: access_fault::<S> }
    }
}

/// An interrupt comes: interrupts are on, or the CPU waits for one.
fn interrupt<S: System>() {
    let machine = current();
    let cpu = machine.cpu();
    cpu.interrupts.set(false);
    let vector = match cpu.ipis.get().trailing_zeros() {
        u32::BITS => {
            cpu.pending.set(false);
            if cpu.deadline.get().is_some_and(|deadline| deadline <= machine.now.get()) {
                cpu.deadline.set(None);
            }
            TIMER_VECTOR
        }
        bit => {
            cpu.ipis.set(cpu.ipis.get() & !(1 << bit));
            FIRST_IPI_VECTOR + bit
        }
    };
    touch_trap_stack();
    say_that_it_came::<S>(u64::from(vector));
    if trap::interrupt::<S>(vector) {
        let context = machine.context();
        let stack_pointer = VirtAddr::new(context.stack_pointer.get());
        if trap::check_room_to_preempt::<S>(S::Arch::PREEMPT_STACK_BYTES, &place(stack_pointer)) {
            trap::will_touch::<S>(stack_pointer - 8 * FRAME_WORDS, 8 * FRAME_WORDS);
            trap::make_room_to_preempt::<S>(stack_pointer, S::Arch::PREEMPT_STACK_BYTES, &place(stack_pointer));
            let frame = Record::push(FRAME_WORDS, Use::Trap);
            trap::preempt::<S>(|| place(stack_pointer));
            frame.pop(Use::Trap);
        }
    }
    // The CPU on which the thread goes on, which need not be the one that it was preempted on.
    current().cpu().interrupts.set(true);
}

/// An interrupt comes that nothing masks, whatever the CPU does at that moment. It needs a stack, and nothing else.
fn nmi() {
    touch_trap_stack();
}

/// An access was the first one, and the CPU leaves it to a handler to note that. Returns if the access can be tried again.
fn access_fault<S: System>(address: u64, how: Use) {
    let machine = current();
    let enabled = machine.cpu().interrupts.replace(false);
    machine
        .require(how != Use::Trap, || format!("a trap was the first to access {address:#x}, and nobody can note that"));
    touch_trap_stack();
    let noted = trap::access_fault::<S>(VirtAddr::new(address));
    machine.require(noted, || format!("the handler of a first access to {address:#x} found no page there"));
    machine.cpu().interrupts.set(enabled);
}

/// An access found nothing mapped. Returns if it can be tried again.
fn page_fault<S: System>(address: u64, how: Use) {
    let machine = current();
    let enabled = machine.cpu().interrupts.replace(false);
    machine.require(how != Use::Trap, || format!("a trap met an absent page, at {address:#x}"));
    touch_trap_stack();
    say_that_it_came::<S>(PAGE_FAULT);
    let stack_pointer = VirtAddr::new(machine.context().stack_pointer.get());
    let place = Place { address: VirtAddr::new(address), ..place(stack_pointer) };
    if !trap::grow_stack::<S>(true, &place) {
        trap::page_fault::<S>("simulated", true, &place);
    }
    machine.cpu().interrupts.set(enabled);
}

fn place(stack_pointer: VirtAddr) -> Place {
    Place { address: stack_pointer, instruction: VirtAddr::new(0), stack_pointer, frame_pointer: VirtAddr::new(0) }
}

/// As entry code does.
fn say_that_it_came<S: System>(number: u64) {
    let context = current().context();
    let is_in_kernel = context.in_user_mode.get().is_none();
    trap::came::<S>(number, || is_in_kernel.then(|| place(VirtAddr::new(context.stack_pointer.get()))));
}

/// A trap pushes its frame, and its handler may need the rest of its stack: all of it is always there.
fn touch_trap_stack() {
    let machine = current();
    if let Some(top) = machine.cpu().trap_stack.get() {
        for word in [top - 8, top - TRAP_STACK_BYTES] {
            machine.store(word, machine.steps.get(), Use::Trap);
        }
    }
}

impl<const GENERATION_BITS: u32> Traps for Simulated<GENERATION_BITS> {
    fn set_trap_stacks<S: System>(
        cpu: &'static PerCpu,
        new_stack: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError> {
        let top = new_stack("trap stack", TRAP_STACK_BYTES)?.as_u64();
        current().cpus[cpu.number as usize].trap_stack.set(Some(top));
        current().checks.borrow_mut().stacks.pin(top);
        Ok(())
    }
}
