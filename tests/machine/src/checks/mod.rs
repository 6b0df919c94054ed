//! What has to hold at every step, looked at from outside: entries, TLBs, stack pointers, counts.
//!
//! The numbers are those of the invariants of the stack policies:
//!
//! 1. A running thread's stack is populated: looked at when it is switched in ([`stacks`]), and whenever a page goes.
//! 2. What holds live records stays, present, with its frame ([`pages`]; and the records' own words, wherever they are
//!    taken off the stack again).
//! 3. No stack is shrunk that is in use ([`pages`]).
//! 4. Frames are conserved ([`frames`], at quiescent points).
//! 5. An entry is emptied only when no CPU can still know what it said ([`pages`]).
//! 6. A trap meets no absent page (the MMU, and traps).

pub mod frames;
pub mod pages;
pub mod stacks;

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::StackEntry;

use crate::machine::Machine;
use crate::mmu::Walk;
use crate::schedule::Fill;
use pages::{Change, Look, Pages};
use stacks::Stacks;

/// What the checks remember.
#[derive(Debug)]
pub struct Checks {
    /// Every page of the stack range.
    pub(crate) pages: Pages,
    /// Stacks with promises of their own.
    pub(crate) stacks: Stacks,
}

impl Checks {
    pub(crate) fn new(root: PhysAddr) -> Self {
        Self { pages: Pages::new(root), stacks: Stacks::default() }
    }
}

impl Machine {
    /// Looks at what has changed in the page tables since the last look. The CPU whose turn it is has done it.
    pub(crate) fn observe(&self) {
        self.look(Look::Quick);
    }

    /// The same, with nothing overlooked.
    pub(crate) fn observe_all(&self) {
        self.look(Look::Whole);
    }

    fn look(&self, look: Look) {
        let changes = self.checks.borrow_mut().pages.scan(&self.ram, look);
        for change in changes.unwrap_or_else(|what| self.broken(what)) {
            self.check_change(&change);
        }
    }

    fn check_change(&self, change: &Change) {
        let allowed = self.checks.borrow_mut().pages.apply(change, self);
        let allowed = allowed.and_then(|()| self.check_stack_of(change));
        if let Err(what) = allowed {
            self.broken(format!(
                "{what}; the entry of {:#x} went from {:x?} to {:x?}",
                change.page, change.old, change.new
            ));
        }
        if let StackEntry::Present { .. } = change.new {
            self.fill_eagerly(change.page);
        }
    }

    /// The populated pages are visible to the walkers now, as far as this CPU populated them.
    pub(crate) fn published(&self) {
        self.observe_all();
        self.checks.borrow_mut().pages.publish(self.cpu().number);
    }

    /// CPU `number` forgets all translations.
    pub(crate) fn invalidate_all(&self, number: usize) {
        self.observe_all();
        self.cpus[number].tlb.invalidate_all();
        self.checks.borrow_mut().pages.invalidated_all(number);
        let present: Vec<u64> = self.checks.borrow().pages.present().map(|(page, _)| page).collect();
        present.into_iter().for_each(|page| self.fill_eagerly(page));
    }

    /// CPU `number` forgets a page.
    pub(crate) fn invalidate(&self, number: usize, page: u64) {
        self.observe_all();
        self.cpus[number].tlb.invalidate(page);
        self.checks.borrow_mut().pages.invalidated(number, page);
        let is_present = self.checks.borrow().pages.frame_of(page).is_some();
        if is_present {
            self.fill_eagerly(page);
        }
    }

    /// Every CPU takes the translation of a page that is present, if that is their habit.
    fn fill_eagerly(&self, page: u64) {
        if self.habits.fill == Fill::Eager {
            for cpu in self.cpus.iter().filter(|cpu| cpu.online.get()) {
                self.walk(cpu, page, Walk::Ahead);
            }
        }
    }
}
