//! The stacks, and the threads that are on them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use ebbtide_core::VirtAddr;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::stack::Slot;

use super::pages::Change;
use crate::context::{Context, Whereabouts};
use crate::machine::Machine;
use crate::switch::{PREEMPT_STACK_BYTES, SWITCH_STACK_BYTES};

/// Stacks that are always populated, by their top.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    pinned: BTreeSet<u64>,
}

impl Stacks {
    /// This stack is populated from now on, as long as its thread lives.
    pub fn pin(&mut self, top: u64) {
        self.pinned.insert(top);
    }
}

/// The page of the lowest byte that a running thread may come to use: all of its stack, unless it is in user mode.
fn lowest_in_use(context: &Context) -> u64 {
    let lowest = |stack_pointer| (stack_pointer - PREEMPT_STACK_BYTES) / PAGE_BYTES * PAGE_BYTES;
    context.in_user_mode.get().map_or(0, lowest)
}

impl Machine {
    /// The thread whose stack pointer this is.
    pub(crate) fn context_of(&self, stack_pointer: u64) -> Rc<Context> {
        let slot = Slot::of(VirtAddr::new(stack_pointer));
        let found = slot.and_then(|slot| self.contexts.borrow().get(&slot.top().as_u64()).map(Rc::clone));
        found.unwrap_or_else(|| self.broken(format!("no thread has the saved stack pointer {stack_pointer:#x}")))
    }

    /// A thread is about to go on on this CPU.
    pub(crate) fn check_switch_in(&self, next: &Context, stack_pointer: u64) {
        let slot = next.slot().expect("a thread has a stack");
        self.require(slot.limit(self.guard).as_u64() <= stack_pointer, || {
            format!("the saved stack pointer {stack_pointer:#x} lies in the guard of its stack")
        });
        self.require(stack_pointer == next.stack_pointer.get(), || {
            format!("the saved stack pointer is {stack_pointer:#x}, but {:#x} was saved", next.stack_pointer.get())
        });
        next.is_leaving.set(false);
        self.require(next.whereabouts.get() == Whereabouts::Away, || {
            format!("the thread at {:#x} was switched to, but it is {:?}", next.top.get(), next.whereabouts.get())
        });
        // One whose stack grows from faults has what it has saved, and may touch the rest.
        let lowest = if self.grows_on_fault { stack_pointer / PAGE_BYTES * PAGE_BYTES } else { lowest_in_use(next) };
        let lowest = lowest.max(self.lowest_unasked(next));
        self.check_populated("a thread was switched to", lowest..next.top.get());
    }

    /// These pages are there, for all walkers.
    pub(crate) fn check_populated(&self, what: &str, pages: Range<u64>) {
        let checks = self.checks.borrow();
        let mut pages = pages.step_by(PAGE_BYTES as usize);
        let absent = pages.clone().find(|page| checks.pages.frame_of(*page).is_none());
        let unpublished = pages.find(|page| checks.pages.is_unpublished(*page));
        drop(checks);
        if let Some(page) = absent {
            self.broken(format!("{what} whose page {page:#x} is not present"));
        }
        if let Some(page) = unpublished {
            self.broken(format!("{what} whose page {page:#x} was populated but not published"));
        }
    }

    /// A page went: nobody needs it.
    pub(crate) fn check_stack_of(&self, change: &Change) -> Result<(), String> {
        let (StackEntry::Present { .. }, StackEntry::Resting { .. } | StackEntry::Empty) = (change.old, change.new)
        else {
            return Ok(());
        };
        let slot = Slot::of(VirtAddr::new(change.page)).ok_or("a page outside of the stack range")?;
        let top = slot.top().as_u64();
        let contexts = self.contexts.borrow();
        let context = contexts.get(&top);
        let lives = context.filter(|context| context.whereabouts.get() != Whereabouts::Gone);
        if self.checks.borrow().stacks.pinned.contains(&top) && (context.is_none() || lives.is_some()) {
            return Err("an always populated stack lost a page".into());
        }
        let Some(context) = lives else { return Ok(()) };
        if context.top.get() != top {
            return Err("a page went of a stack that its thread has left and will come back to".into());
        }
        if self.reads_accessed_bits && change.was_accessed && !self.frames_were_waited_for() {
            return Err("a page went that was accessed, and nobody waited for frames".into());
        }
        match context.whereabouts.get() {
            Whereabouts::On(_) if change.page + PAGE_BYTES <= lowest_in_use(context) => Ok(()),
            Whereabouts::On(cpu) if self.may_leave(cpu, context, change.page) => {
                context.is_leaving.set(true);
                Ok(())
            }
            Whereabouts::On(cpu) => Err(format!("a page went of the stack on which CPU {cpu} runs")),
            _ if change.page == top - PAGE_BYTES => Err("the top page of a living thread's stack went".into()),
            _ if context.stack_pointer.get() < change.page + PAGE_BYTES => {
                let stack_pointer = context.stack_pointer.get();
                Err(format!("a page with live records went: the saved stack pointer is {stack_pointer:#x}"))
            }
            _ => Ok(()),
        }
    }

    /// Says whether a thread has ever had to wait for frames.
    fn frames_were_waited_for(&self) -> bool {
        self.cpus.iter().any(|cpu| cpu.per_cpu.cache_counters().parked > 0)
    }

    /// Says whether the thread that runs on CPU `cpu` may be about to leave it, and is done with this page.
    fn may_leave(&self, cpu: usize, context: &Context, page: u64) -> bool {
        let is_certain = self.rests_before_switch && cpu == self.cpu().number && !self.cpu().interrupts.get();
        is_certain && page + PAGE_BYTES <= context.stack_pointer.get() - SWITCH_STACK_BYTES
    }

    /// The thread that runs here does not leave: its stack is whole.
    pub(crate) fn check_stays(&self) {
        if self.rests_before_switch {
            self.observe_all();
            self.require(!self.context().is_leaving.get(), || {
                "pages went of the stack of a thread that went on".to_owned()
            });
        }
    }

    /// The thread that runs here is about to leave: what went of its stack is judged while it still runs on it.
    pub(crate) fn check_leaves(&self) {
        if self.rests_before_switch {
            self.observe_all();
        }
    }

    /// Every thread that exists now has an always populated stack: those of CPUs that have just been prepared.
    pub(crate) fn pin_all(&self) {
        let tops: Vec<_> = self.contexts.borrow().keys().copied().collect();
        for top in tops {
            self.checks.borrow_mut().stacks.pin(top);
        }
    }
}
