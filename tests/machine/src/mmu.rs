//! Accesses to the stack range: TLB, else walk, else page fault.

use std::sync::atomic::Ordering;

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry, TableEntry};

use crate::cpu::Processor;
use crate::entry;
use crate::machine::Machine;
use crate::tlb::Translation;

/// On whose behalf memory is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A thread's: a page fault is handled.
    Thread,
    /// A trap's: there must be none.
    Trap,
}

/// What a walker walks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// A load.
    Load,
    /// A store.
    Store,
    /// Nothing yet: it runs ahead.
    Ahead,
}

impl Machine {
    /// Stores a word through the MMU.
    pub(crate) fn store(&self, address: u64, value: u64, how: Use) {
        let physical = self.translate(address, true, how);
        self.ram.word(physical).expect("a frame of RAM").store(value, Ordering::Relaxed);
    }

    /// Loads a word through the MMU.
    pub(crate) fn load(&self, address: u64, how: Use) -> u64 {
        let physical = self.translate(address, false, how);
        self.ram.word(physical).expect("a frame of RAM").load(Ordering::Relaxed)
    }

    fn translate(&self, address: u64, store: bool, how: Use) -> PhysAddr {
        let page = address & !(PAGE_BYTES - 1);
        let walk = if store { Walk::Store } else { Walk::Load };
        loop {
            self.observe();
            let cpu = self.cpu();
            let known = cpu.tlb.get(page).filter(|known| known.dirty || !store);
            let found = known.filter(|_| !self.misses_on_purpose(how));
            if let Some(known) = found {
                self.check_translation(page, known.frame);
                return PhysAddr::new(known.frame.as_u64() + address - page);
            }
            if !self.misses_on_purpose(how)
                && let Some(found) = self.walk(cpu, page, walk)
            {
                self.check_translation(page, found.frame);
                return PhysAddr::new(found.frame.as_u64() + address - page);
            }
            if self.wants_access_noted(page) {
                (self.traps.access_fault)(address, how);
                self.require(!self.wants_access_noted(page), || {
                    format!("the handler of a first access to {address:#x} has not noted it")
                });
            } else {
                (self.traps.page_fault)(address, how);
            }
        }
    }

    /// Says whether it is left to a handler to note that a page was accessed, and it was not.
    fn wants_access_noted(&self, page: u64) -> bool {
        self.reads_accessed_bits
            && self.habits.accesses_fault
            && self.leaf(page).is_some_and(|leaf| entry::is_unaccessed(leaf.load(Ordering::Relaxed)))
    }

    /// A walker that missed an entry that is there, as it may where populating was published elsewhere.
    fn misses_on_purpose(&self, how: Use) -> bool {
        how == Use::Thread && self.dice.one_in(self.habits.spurious_fault_one_in)
    }

    /// A walk of this CPU, which takes what it finds into its TLB. Like a real one it sets Accessed, and Dirty for a
    /// store, in one atomic step with the look at the valid bit.
    pub(crate) fn walk(&self, cpu: &Processor, page: u64, walk: Walk) -> Option<Translation> {
        if self.wants_access_noted(page) {
            return None;
        }
        let leaf = self.leaf(page)?;
        let set = |word| entry::is_valid(word).then(|| entry::used(word, walk == Walk::Store));
        let before = leaf.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set).ok()?;
        let after = entry::used(before, walk == Walk::Store);
        let may_set = if self.reads_accessed_bits { entry::ACCESSED } else { 0 };
        self.require(after & !before & !may_set == 0 || self.habits.walkers_may_write, || {
            format!("a walker had to write bits {:#x} of the entry of {page:#x}", after & !before)
        });
        let StackEntry::Present { frame } = entry::decode_stack(after) else { return None };
        let translation = Translation { frame, dirty: entry::is_dirty(after) };
        cpu.tlb.fill(page, translation);
        Some(translation)
    }

    /// The leaf entry of a page.
    pub(crate) fn leaf(&self, page: u64) -> Option<&std::sync::atomic::AtomicU64> {
        let mut table = self.kernel.root();
        for level in (1..=3).rev() {
            let word = self.ram.word(slot_in(table, page, level))?.load(Ordering::Relaxed);
            let TableEntry::Table(next) = entry::decode(word, level) else { return None };
            table = next;
        }
        self.ram.word(slot_in(table, page, 0))
    }

    /// What a CPU remembers is used: it must be what the entry says now, and known to every walker.
    fn check_translation(&self, page: u64, frame: PhysAddr) {
        let now = self.leaf(page).map_or(StackEntry::Empty, |leaf| entry::decode_stack(leaf.load(Ordering::Relaxed)));
        self.require(now == StackEntry::Present { frame }, || {
            format!("{page:#x} was touched through a stale translation to {frame:#x}; its entry says {now:x?}")
        });
        let unpublished = self.checks.borrow().pages.is_unpublished(page);
        self.require(!unpublished, || format!("{page:#x} was touched after it was populated and before publish"));
    }
}

/// Where the entry of `level` for `page` lies in its table.
fn slot_in(table: PhysAddr, page: u64, level: u32) -> PhysAddr {
    let index = page / (PAGE_BYTES << (9 * level)) % 512;
    PhysAddr::new(table.as_u64() + 8 * index)
}
