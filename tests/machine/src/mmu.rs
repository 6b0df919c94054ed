//! Accesses to the stack range: TLB, else walk, else page fault.

use std::sync::atomic::Ordering;

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry, TableEntry};

use crate::entry;
use crate::machine::Machine;

/// On whose behalf memory is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A thread's: a page fault is handled.
    Thread,
    /// A trap's: there must be none.
    Trap,
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
        let offset = address - page;
        loop {
            self.observe();
            let cpu = self.cpu();
            let known = cpu.tlb.get(page).filter(|_| !self.misses_on_purpose(how));
            if let Some(frame) = known {
                self.check_translation(page, frame);
                return PhysAddr::new(frame.as_u64() + offset);
            }
            if !self.misses_on_purpose(how)
                && let Some(frame) = self.walk(page, store)
            {
                cpu.tlb.fill(page, frame);
                return PhysAddr::new(frame.as_u64() + offset);
            }
            (self.traps.page_fault)(address, how);
        }
    }

    /// A walker that missed an entry that is there, as it may where populating was published elsewhere.
    fn misses_on_purpose(&self, how: Use) -> bool {
        how == Use::Thread && self.dice.one_in(self.habits.spurious_fault_one_in)
    }

    /// The walk of this CPU, for use.
    fn walk(&self, page: u64, store: bool) -> Option<PhysAddr> {
        let word = self.leaf(page)?.load(Ordering::Relaxed);
        if !entry::is_valid(word) {
            return None;
        }
        let missing = entry::unset_by_walker(word, store);
        self.require(missing == 0, || format!("a walker has to write bits {missing:#x} of the entry of {page:#x}"));
        let unpublished = self.checks.borrow().pages.is_unpublished(page);
        self.require(!unpublished, || format!("{page:#x} was touched after it was populated and before publish"));
        match entry::decode_stack(word) {
            StackEntry::Present { frame } => Some(frame),
            _ => None,
        }
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

    /// What a CPU remembers is used: it must be what the entry says now.
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
