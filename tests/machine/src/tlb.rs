//! A CPU's memory of translations: it takes any that is valid, and keeps it until it is told otherwise.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ebbtide_core::PhysAddr;

/// What a CPU remembers of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Where the page lies.
    pub frame: PhysAddr,
    /// The entry was Dirty: a store needs no walk.
    pub dirty: bool,
}

/// The translations that a CPU remembers, for the stack range.
#[derive(Debug, Default)]
pub struct Tlb(RefCell<BTreeMap<u64, Translation>>);

impl Tlb {
    /// Remembers a translation of the page at `page`. A CPU that remembers another one keeps that.
    pub fn fill(&self, page: u64, translation: Translation) {
        let mut all = self.0.borrow_mut();
        let known = all.entry(page).or_insert(translation);
        known.dirty |= known.frame == translation.frame && translation.dirty;
    }

    /// What the CPU remembers of a page, true or not.
    pub fn get(&self, page: u64) -> Option<Translation> {
        self.0.borrow().get(&page).copied()
    }

    /// Forgets everything.
    pub fn invalidate_all(&self) {
        self.0.borrow_mut().clear();
    }

    /// Forgets a page.
    pub fn invalidate(&self, page: u64) {
        self.0.borrow_mut().remove(&page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_goes_stale_and_stays_so_until_it_is_invalidated() {
        let tlb = Tlb::default();
        let to = |frame, dirty| Translation { frame: PhysAddr::new(frame), dirty };
        tlb.fill(0x1000, to(0x5000, false));
        tlb.fill(0x1000, to(0x6000, true));
        assert_eq!(tlb.get(0x1000), Some(to(0x5000, false)));
        tlb.fill(0x1000, to(0x5000, true));
        assert_eq!(tlb.get(0x1000), Some(to(0x5000, true)));
        tlb.invalidate(0x1000);
        assert_eq!(tlb.get(0x1000), None);
    }
}
