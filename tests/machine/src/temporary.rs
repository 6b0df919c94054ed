//! Temporary stacks: a thread goes from the one that it is on to one that it borrows, and back.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use ebbtide_core::VirtAddr;
use ebbtide_core::stack::Slot;

use crate::context::Left;
use crate::machine::Machine;

impl Machine {
    /// The running thread goes on on the stack with this `top`, which is nobody's and whole.
    pub(crate) fn borrow(&self, top: u64) {
        self.observe_all();
        self.check_moves();
        let context = self.context();
        let slot =
            Slot::of(VirtAddr::new(top - 1)).unwrap_or_else(|| self.broken(format!("no stack ends at {top:#x}")));
        self.check_populated("a thread goes to a temporary stack", slot.limit(self.guard).as_u64()..top);
        self.give(top, Rc::clone(&context));
        let left = Left { top: context.top.replace(top), stack_pointer: context.stack_pointer.replace(top) };
        context.left.borrow_mut().push(left);
    }

    /// The running thread is done with the stack that it borrowed last.
    pub(crate) fn come_back(&self) {
        self.observe_all();
        self.check_moves();
        let context = self.context();
        let (top, found) = (context.top.get(), context.stack_pointer.get());
        self.require(found == top, || {
            format!("a thread comes back from {top:#x}, and its stack pointer is {found:#x}")
        });
        let left = context.left.borrow_mut().pop().unwrap_or_else(|| self.broken("nothing was borrowed".to_owned()));
        context.top.set(left.top);
        context.stack_pointer.set(left.stack_pointer);
        self.contexts.borrow_mut().remove(&top);
    }

    /// The stack pointer moves from stack to stack: nobody comes in between that and what core says of the thread.
    fn check_moves(&self) {
        let keeps_the_cpu = self.cpu().per_cpu.head.preempt_count.load(Ordering::Relaxed) > 0;
        self.require(keeps_the_cpu, || "a thread changes stacks where it may be preempted".to_owned());
    }
}
