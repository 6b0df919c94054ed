//! The switch: the baton goes to the coroutine of the next thread, and records are pushed as real ones are.
#![expect(unsafe_code, reason = "the contract of the switch is unsafe")]

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::VirtAddr;
use ebbtide_core::arch::{Entry, Switch};
use ebbtide_core::stack::Leaving;
use ebbtide_core::thread::Thread;

use crate::baton::halt;
use crate::context::{Context, Whereabouts};
use crate::machine::current;
use crate::mmu::Use;
use crate::system::Simulated;

/// What a preemption may need below the stack pointer.
pub(crate) const PREEMPT_STACK_BYTES: u64 = 2 << 10;

/// What may be in use below the stack pointer until that has left the stack, the record included.
pub(crate) const SWITCH_STACK_BYTES: u64 = 1 << 10;

/// Words of the record that a switch leaves.
const SWITCH_WORDS: u64 = 7;

/// Words of the one that a call on another stack leaves.
const CALL_WORDS: u64 = 2;

/// Words that the model has pushed, and expects to find again.
#[derive(Debug)]
pub(crate) struct Record {
    words: u64,
    mark: u64,
}

impl Record {
    /// Pushes a record of so many words on the stack that is in use.
    pub fn push(words: u64, how: Use) -> Self {
        let machine = current();
        let record = Self { words, mark: machine.steps.get() };
        let context = machine.context();
        if context.top.get() != 0 {
            let stack_pointer = context.stack_pointer.get() - 8 * words;
            context.stack_pointer.set(stack_pointer);
            record.write(stack_pointer, how);
        }
        record
    }

    fn write(&self, stack_pointer: u64, how: Use) {
        for word in (0..self.words).rev() {
            current().store(stack_pointer + 8 * word, self.word(word), how);
        }
    }

    /// Takes the record off the stack again: it has to be what it was.
    pub fn pop(self, how: Use) {
        let machine = current();
        let context = machine.context();
        if context.top.get() == 0 {
            return;
        }
        let stack_pointer = context.stack_pointer.get();
        for word in 0..self.words {
            let address = stack_pointer + 8 * word;
            let found = machine.load(address, how);
            machine.require(found == self.word(word), || {
                format!("a live record at {address:#x} was overwritten with {found:#x}")
            });
        }
        context.stack_pointer.set(stack_pointer + 8 * self.words);
    }

    fn word(&self, number: u64) -> u64 {
        (self.mark << 8 | number) ^ 0x5a5a_0000_0000_0000
    }
}

// SAFETY: a coroutine keeps its registers and its stack.
unsafe impl<const GENERATION_BITS: u32> Switch for Simulated<GENERATION_BITS> {
    const PREEMPT_STACK_BYTES: u64 = PREEMPT_STACK_BYTES;
    const SWITCH_STACK_BYTES: u64 = SWITCH_STACK_BYTES;

    unsafe fn prepare(top: VirtAddr, entry: Entry, argument: *mut ()) -> VirtAddr {
        let machine = current();
        let record = Record { words: SWITCH_WORDS, mark: machine.steps.get() };
        let stack_pointer = top.as_u64() - 8 * SWITCH_WORDS;
        record.write(stack_pointer, Use::Thread);
        let context = Context::new(top.as_u64(), move || {
            record.pop(Use::Thread);
            let (left, leaving) =
                current().cpu().left.take().map_or((None, Leaving::Idle), |(left, how)| (Some(left), how));
            entry(left, leaving, argument)
        });
        context.stack_pointer.set(stack_pointer);
        machine.add(context);
        VirtAddr::new(stack_pointer)
    }

    unsafe fn switch(prev: &'static Thread, next: &'static Thread, leaving: Leaving) -> (&'static Thread, Leaving) {
        let machine = current();
        let cpu = machine.cpu();
        machine.require(!cpu.interrupts.get(), || "a switch with interrupts on".into());
        machine.check_leaves();
        let record = Record::push(SWITCH_WORDS, Use::Thread);
        let context = machine.context();
        set_saved_stack_pointer(prev, context.stack_pointer.get());
        context.whereabouts.set(if leaving == Leaving::Exited { Whereabouts::Gone } else { Whereabouts::Away });
        cpu.left.set(Some((prev, leaving)));
        go_on_as(next);
        // Another CPU may have taken it from where it was left.
        record.pop(Use::Thread);
        current().cpu().left.take().expect("whoever switches here leaves a thread")
    }

    unsafe fn call_on(top: VirtAddr, f: extern "C-unwind" fn(*mut ()), argument: *mut (), left: &AtomicU64) {
        let frame = Record::push(CALL_WORDS, Use::Thread);
        left.store(current().context().stack_pointer.get(), Ordering::Relaxed);
        current().borrow(top.as_u64());
        let caller = Record::push(1, Use::Thread);
        f(argument);
        caller.pop(Use::Thread);
        current().come_back();
        frame.pop(Use::Thread);
    }

    unsafe fn touch(address: VirtAddr) {
        // Whoever touches something stands on the stack.
        let frame = Record::push(1, Use::Thread);
        current().load(address.as_u64() & !7, Use::Thread);
        frame.pop(Use::Thread);
    }

    unsafe fn switch_first(next: &Thread) -> ! {
        current().context().whereabouts.set(Whereabouts::Gone);
        go_on_as(next);
        halt()
    }
}

/// The stack pointer moves, and "current" with it.
fn go_on_as(next: &Thread) {
    let machine = current();
    let cpu = machine.cpu();
    let stack_pointer = next.saved_stack_pointer().as_u64();
    let context = machine.context_of(stack_pointer);
    machine.observe_all();
    machine.check_switch_in(&context, stack_pointer);
    context.whereabouts.set(Whereabouts::On(cpu.number));
    cpu.per_cpu.current.store(std::ptr::from_ref(next).cast_mut(), Ordering::Relaxed);
    let paused = cpu.context.borrow().as_ref().map(Rc::clone).expect("a CPU executes something");
    *cpu.context.borrow_mut() = Some(context);
    paused.pause();
}

/// Saves the stack pointer where core, and every architecture, looks for it.
fn set_saved_stack_pointer(thread: &Thread, stack_pointer: u64) {
    let thread = std::ptr::from_ref(thread).cast::<u8>();
    // SAFETY: the offset lies within the thread.
    let field = unsafe { thread.add(Thread::SAVED_STACK_POINTER_OFFSET) };
    // SAFETY: the field is an atomic word, which may be written through a shared reference.
    unsafe { std::sync::atomic::AtomicU64::from_ptr(field.cast_mut().cast()) }.store(stack_pointer, Ordering::Relaxed);
}
