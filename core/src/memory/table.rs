//! Page tables: a walk that makes the tables it misses, and one that does not.
//!
//! ```text
//! level 3    2    1 (2 MiB)  0 (4 KiB)     each table: 512 entries
//! bits 47-39 38-30 29-21     20-12
//! ```
//!
//! Tables are never freed: the ranges that are mapped and unmapped again keep theirs, and that is what lets a stack
//! be populated without allocating.
#![expect(unsafe_code, reason = "page tables are memory that the CPU reads")]

use core::marker::PhantomData;
use core::ptr::NonNull;

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{Access, PAGE_BYTES, Paging, TableEntry};
use crate::memory::window::Window;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The level of the root table.
const ROOT_LEVEL: u32 = 3;

/// The number of levels.
pub(crate) const LEVELS: u32 = ROOT_LEVEL + 1;

/// Bits of an address that choose no entry of a table.
const UNTRANSLATED_BITS: u32 = 64 - (12 + 9 * LEVELS);

/// Bytes that one entry of `level` maps.
pub const fn span(level: u32) -> u64 {
    PAGE_BYTES << (9 * level)
}

/// There is no frame for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames;

/// The tables below one root.
#[derive(Debug)]
pub struct Tables<P> {
    root: PhysAddr,
    window: Window,
    paging: PhantomData<fn() -> P>,
}

impl<P> Clone for Tables<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Tables<P> {}

impl<P: Paging> Tables<P> {
    /// Names the tables below `root`, which are touched through `window`.
    ///
    /// # Safety
    ///
    /// `root` and every table below it are mapped in `window`, are tables of `P`, and stay so.
    pub const unsafe fn new(root: PhysAddr, window: Window) -> Self {
        Self { root, window, paging: PhantomData }
    }

    /// The root table.
    pub const fn root(self) -> PhysAddr {
        self.root
    }

    /// The entry of `level` that maps `address`, if all tables above it are there.
    pub fn find(self, address: VirtAddr, level: u32) -> Option<NonNull<AtomicU64>> {
        let mut table = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            let entry = self.entry(table, address, above).load(Ordering::Relaxed);
            let TableEntry::Table(next) = P::decode(entry, above) else { return None };
            table = next;
        }
        Some(NonNull::from(self.entry(table, address, level)))
    }

    /// The entry of `level` that maps `address`; tables that are missing are made of what `new_table` gives
    /// (any content).
    ///
    /// # Errors
    ///
    /// `new_table` gave nothing, or a large page is in the way.
    pub fn find_or_make(
        self,
        address: VirtAddr,
        level: u32,
        new_table: &mut dyn FnMut() -> Option<PhysAddr>,
    ) -> Result<NonNull<AtomicU64>, OutOfFrames> {
        let mut table = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            let entry = self.entry(table, address, above);
            table = match P::decode(entry.load(Ordering::Relaxed), above) {
                TableEntry::Table(next) => next,
                TableEntry::Leaf(_) => return Err(OutOfFrames),
                TableEntry::Absent => {
                    let next = new_table().ok_or(OutOfFrames)?;
                    // SAFETY: the frame is new, so nobody uses it, and new frames are mapped in the window.
                    unsafe { self.window.clear(next) };
                    // Release: a walker that follows the entry finds zeros.
                    entry.store(P::encode_table(next), Ordering::Release);
                    next
                }
            };
        }
        Ok(NonNull::from(self.entry(table, address, level)))
    }

    /// Maps `bytes` from `address` on to the memory from `frame` on, in pages of `level`.
    ///
    /// Everything is a multiple of the pages' size, and nothing is mapped there yet (a first mapping needs no
    /// invalidation).
    ///
    /// # Errors
    ///
    /// As [`Tables::find_or_make`].
    ///
    /// # Safety
    ///
    /// The mapping breaks nothing that the running code relies on.
    pub unsafe fn map(
        self,
        address: VirtAddr,
        frame: PhysAddr,
        bytes: u64,
        access: Access,
        level: u32,
        new_table: &mut dyn FnMut() -> Option<PhysAddr>,
    ) -> Result<(), OutOfFrames> {
        let mut done = 0;
        while done < bytes {
            let page = VirtAddr::new(address.as_u64() + done);
            let first = self.find_or_make(page, level, new_table)?;
            // One walk serves the run of pages that share the last table.
            let index = index(page, level);
            let run = (bytes - done).div_ceil(span(level)).min(512 - index);
            for step in 0..run {
                let frame = PhysAddr::new(frame.as_u64() + done + step * span(level));
                // SAFETY: `run` ends with the table that `first` lies in.
                let entry = unsafe { first.add(step as usize) };
                // SAFETY: tables are mapped for good.
                let entry = unsafe { entry.as_ref() };
                entry.store(P::encode_leaf(frame, access, level), Ordering::Release);
            }
            done += run * span(level);
        }
        P::publish();
        Ok(())
    }

    /// What `address` is mapped to, with the level of its leaf.
    pub fn translate(self, address: VirtAddr) -> Option<(PhysAddr, u32)> {
        let (entry, level) = self.leaf(address)?;
        match P::decode(entry.load(Ordering::Relaxed), level) {
            TableEntry::Leaf(frame) => Some((frame, level)),
            _ => None,
        }
    }

    /// The entry that maps `address` to memory, with its level.
    pub fn leaf(self, address: VirtAddr) -> Option<(&'static AtomicU64, u32)> {
        (0..ROOT_LEVEL).rev().find_map(|level| {
            // SAFETY: `find` returns an entry of a table, which is never freed.
            let entry = unsafe { self.find(address, level)?.as_ref() };
            let is_leaf = matches!(P::decode(entry.load(Ordering::Relaxed), level), TableEntry::Leaf(_));
            is_leaf.then_some((entry, level))
        })
    }

    /// Calls `visit` with the first address and the level of every leaf, in the order of addresses. It takes no lock: what changes
    /// meanwhile is seen, or it is not.
    pub(crate) fn leaves(self, visit: &mut dyn FnMut(VirtAddr, u32)) {
        self.leaves_below(self.root, ROOT_LEVEL, 0, visit);
    }

    /// The same for a table of `level`, whose first entry is that of `first`.
    fn leaves_below(self, table: PhysAddr, level: u32, first: u64, visit: &mut dyn FnMut(VirtAddr, u32)) {
        for step in 0..512 {
            // The bits above those that choose entries are as the highest of these.
            let address = ((first + step * span(level)) << UNTRANSLATED_BITS).cast_signed() >> UNTRANSLATED_BITS;
            let address = VirtAddr::new(address.cast_unsigned());
            match P::decode(self.entry(table, address, level).load(Ordering::Relaxed), level) {
                TableEntry::Absent => {}
                TableEntry::Leaf(_) => visit(address, level),
                TableEntry::Table(next) => self.leaves_below(next, level - 1, address.as_u64(), visit),
            }
        }
    }

    fn entry(self, table: PhysAddr, address: VirtAddr, level: u32) -> &'static AtomicU64 {
        let entries = self.window.pointer::<AtomicU64>(table);
        // SAFETY: a table has 512 entries, and the index is below 512.
        let entry = unsafe { entries.add(index(address, level) as usize) };
        // SAFETY: tables are mapped for good.
        unsafe { &*entry }
    }
}

/// Which entry of a table of `level` maps `address`.
const fn index(address: VirtAddr, level: u32) -> u64 {
    (address.as_usize() as u64 / span(level)) % 512
}
