//! The pages of the stack range: how their entries may change, and who may still know what they said.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ebbtide_core::arch::{PAGE_BYTES, StackEntry, TableEntry};
use ebbtide_core::memory::layout::{STACK_CLASS_BYTES, STACKS};
use ebbtide_core::stack::{CLASSES, Slot};
use ebbtide_core::{PhysAddr, VirtAddr};

use crate::entry;
use crate::machine::{self, Machine};
use crate::ram::Ram;

/// An entry of a stack's page that changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// The page's address.
    pub page: u64,
    pub old: StackEntry,
    pub new: StackEntry,
    /// The old entry said that the page was accessed.
    pub was_accessed: bool,
}

/// A page table, as it was at the last look.
#[derive(Debug)]
struct Copy {
    table: PhysAddr,
    level: u32,
    /// The address that the first entry maps.
    base: u64,
    words: Vec<u64>,
    /// Entries that are looked at every time: those up to the last one that was ever used, and some more.
    used: usize,
}

/// How many entries behind the last one that was used are looked at every time. Those further behind are looked at
/// where it matters that nothing is overlooked.
const AHEAD: usize = 32;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// At the leaf tables, as far as they are in use.
    Quick,
    /// At everything.
    Whole,
}

/// What is known of a page, beside its entry.
#[derive(Clone, Copy, Debug, Default)]
struct Page {
    /// The CPUs that have not invalidated it since it began to rest.
    may_be_known: u32,
    /// The CPU that populated it and has not published that.
    unpublished: Option<usize>,
    /// It has rested with its slot's present generation.
    has_rested: bool,
    frame: Option<PhysAddr>,
    present: bool,
}

/// All pages.
#[derive(Debug)]
pub(crate) struct Pages {
    copies: Vec<Copy>,
    pages: BTreeMap<u64, Page>,
    /// The page that has a frame.
    owners: BTreeMap<u64, u64>,
    /// The generation of the last rest, by the top of the slot.
    generations: BTreeMap<u64, u32>,
    pub changes: u64,
    pub invalidations: u64,
}

impl Pages {
    pub fn new(root: PhysAddr) -> Self {
        // The four levels map 256 TiB; what is left of a canonical address is its sign.
        let root = Copy { table: root, level: 3, base: 0xffff << 48, words: vec![0; 512], used: 0 };
        Self {
            copies: vec![root],
            pages: BTreeMap::new(),
            owners: BTreeMap::new(),
            generations: BTreeMap::new(),
            changes: 0,
            invalidations: 0,
        }
    }

    /// The entries that differ from what they were.
    pub fn scan(&mut self, ram: &Ram, look: Look) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        let mut number = 0;
        // Tables that are found on the way are looked at on the same way.
        while number < self.copies.len() {
            let copy = &mut self.copies[number];
            number += 1;
            let count = match look {
                Look::Whole => 512,
                Look::Quick if copy.level > 0 => continue,
                Look::Quick => copy.used,
            };
            let mut tables = Vec::new();
            for (index, word) in ram.words(copy.table, count).iter().enumerate() {
                let word = word.load(Ordering::Relaxed);
                if word == copy.words[index] {
                    continue;
                }
                copy.used = copy.used.max((index + AHEAD).min(512));
                let old = std::mem::replace(&mut copy.words[index], word);
                let address = copy.base + index as u64 * (PAGE_BYTES << (9 * copy.level));
                if copy.level > 0 {
                    tables.push((entry::decode(word, copy.level), copy.level - 1, address));
                } else if is_stack_page(address) {
                    let was_accessed = old & entry::ACCESSED != 0;
                    let (old, new) = (entry::decode_stack(old), entry::decode_stack(word));
                    changes.push(Change { page: address, old, new, was_accessed });
                } else if entry::is_valid(word) {
                    // A guard's entry holds a note, which no walker looks at.
                    let (old, new) = (StackEntry::Empty, entry::decode_stack(word));
                    changes.push(Change { page: address, old, new, was_accessed: false });
                }
            }
            for (table, level, base) in tables {
                if let TableEntry::Table(table) = table {
                    if let Some(page) = self.owners.get(&table.as_u64()) {
                        return Err(format!("frame {table:#x} became a page table while {page:#x} has it"));
                    }
                    self.copies.push(Copy { table, level, base, words: vec![0; 512], used: 0 });
                }
            }
        }
        Ok(changes)
    }

    /// Takes a change in, if it is one that the protocol allows.
    pub fn apply(&mut self, change: &Change, machine: &Machine) -> Result<(), String> {
        self.changes += 1;
        let slot = Slot::of(VirtAddr::new(change.page)).ok_or("a page outside of the stack range")?;
        if !is_stack_page(change.page) {
            return Err("a guard page is present".into());
        }
        let top = slot.top().as_u64();
        let page = self.pages.entry(change.page).or_default();
        let here = machine.cpu().number;
        match (change.old, change.new) {
            (StackEntry::Empty, StackEntry::Present { frame }) => {
                if let Some(other) = self.owners.insert(frame.as_u64(), change.page) {
                    return Err(format!("frame {frame:#x} is in two places, the other is {other:#x}"));
                }
                if self.copies.iter().any(|copy| copy.table == frame) {
                    return Err(format!("frame {frame:#x} is a page table"));
                }
                *page = Page { frame: Some(frame), present: true, unpublished: Some(here), ..*page };
            }
            (StackEntry::Present { frame: old }, StackEntry::Resting { frame, generation }) if old == frame => {
                let last = self.generations.entry(top).or_default();
                let next = generation != *last;
                *last = generation;
                page.present = false;
                page.unpublished = None;
                page.may_be_known = online(machine);
                if next {
                    self.begin_generation(slot);
                }
                let page = self.pages.entry(change.page).or_default();
                if std::mem::replace(&mut page.has_rested, true) {
                    return Err("it rests again with a generation that was not raised".into());
                }
            }
            // The entry's other bits: a walker's.
            (StackEntry::Present { frame: old }, StackEntry::Present { frame }) if old == frame => {}
            (StackEntry::Resting { frame: old, .. }, StackEntry::Present { frame }) if old == frame => {
                page.present = true;
                page.unpublished = Some(here);
            }
            (StackEntry::Resting { frame, .. }, StackEntry::Empty) => {
                self.owners.remove(&frame.as_u64());
                page.frame = None;
                if page.may_be_known != 0 {
                    let who = page.may_be_known;
                    return Err(format!("it was emptied though CPUs {who:#b} have not invalidated it since it rested"));
                }
                if let Some(cpu) = machine.cpus.iter().find(|cpu| cpu.tlb.get(change.page).is_some()) {
                    return Err(format!("it was emptied though the TLB of CPU {} knows it", cpu.number));
                }
            }
            _ => return Err("no change that the protocol allows".into()),
        }
        Ok(())
    }

    /// Another generation begins: every page of the slot may rest with it once.
    fn begin_generation(&mut self, slot: Slot) {
        for (_, page) in self.pages.range_mut(slot.limit(machine::current().guard).as_u64()..slot.top().as_u64()) {
            page.has_rested = false;
        }
    }

    pub fn publish(&mut self, cpu: usize) {
        for page in self.pages.values_mut().filter(|page| page.unpublished == Some(cpu)) {
            page.unpublished = None;
        }
    }

    pub fn invalidated(&mut self, cpu: usize, page: u64) {
        self.invalidations += 1;
        if let Some(page) = self.pages.get_mut(&page) {
            page.may_be_known &= !(1 << cpu);
        }
    }

    pub fn invalidated_all(&mut self, cpu: usize) {
        self.invalidations += 1;
        self.pages.values_mut().for_each(|page| page.may_be_known &= !(1 << cpu));
    }

    /// Says whether a page was populated and that is not yet published.
    pub fn is_unpublished(&self, page: u64) -> bool {
        self.pages.get(&page).is_some_and(|page| page.unpublished.is_some())
    }

    /// The frame of a page that is present.
    pub fn frame_of(&self, page: u64) -> Option<PhysAddr> {
        self.pages.get(&page).filter(|page| page.present).and_then(|page| page.frame)
    }

    /// All pages that are present, with their frames.
    pub fn present(&self) -> impl Iterator<Item = (u64, PhysAddr)> + Clone {
        self.pages.iter().filter(|(_, page)| page.present).filter_map(|(address, page)| Some((*address, page.frame?)))
    }

    /// Number of pages that rest.
    pub fn resting(&self) -> usize {
        self.pages.values().filter(|page| page.frame.is_some() && !page.present).count()
    }

    /// Number of frames that pages have, present or resting.
    pub fn frames(&self) -> usize {
        self.owners.len()
    }

    /// Number of page tables, without the root.
    pub fn tables(&self) -> usize {
        self.copies.len() - 1
    }
}

/// The CPUs whose TLB counts.
fn online(machine: &Machine) -> u32 {
    machine.cpus.iter().filter(|cpu| cpu.online.get()).fold(0, |all, cpu| all | 1 << cpu.number)
}

/// Says whether the page belongs to a stack, and is no guard.
fn is_stack_page(page: u64) -> bool {
    (STACKS..STACKS + CLASSES as u64 * STACK_CLASS_BYTES).contains(&page)
        && Slot::of(VirtAddr::new(page)).is_some_and(|slot| slot.limit(machine::current().guard).as_u64() <= page)
}
