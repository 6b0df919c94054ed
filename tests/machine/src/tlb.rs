//! A CPU's memory of translations: it takes any that is valid, and keeps it until it is told otherwise.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ebbtide_core::PhysAddr;

/// The translations that a CPU remembers, for the stack range.
#[derive(Debug, Default)]
pub struct Tlb(RefCell<BTreeMap<u64, PhysAddr>>);

impl Tlb {
    /// Remembers where the page at `page` lies, if the CPU does not remember another place already.
    pub fn fill(&self, page: u64, frame: PhysAddr) {
        self.0.borrow_mut().entry(page).or_insert(frame);
    }

    /// What the CPU remembers of a page, true or not.
    pub fn get(&self, page: u64) -> Option<PhysAddr> {
        self.0.borrow().get(&page).copied()
    }

    /// Forgets a page.
    pub fn invalidate(&self, page: u64) {
        self.0.borrow_mut().remove(&page);
    }

    /// Forgets everything.
    pub fn invalidate_all(&self) {
        self.0.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_goes_stale_and_stays_so_until_it_is_invalidated() {
        let tlb = Tlb::default();
        tlb.fill(0x1000, PhysAddr::new(0x5000));
        tlb.fill(0x1000, PhysAddr::new(0x6000));
        assert_eq!(tlb.get(0x1000), Some(PhysAddr::new(0x5000)));
        tlb.invalidate(0x1000);
        assert_eq!(tlb.get(0x1000), None);
    }
}
