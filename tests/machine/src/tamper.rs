//! What can be done wrong on purpose, to see the checks fire.

use std::sync::atomic::Ordering;

use ebbtide_core::PhysAddr;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry};

use crate::entry;
use crate::machine::current;
use crate::mmu::{Use, Walk};

/// A paging operation that does less than it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrong {
    /// None.
    #[default]
    Nothing,
    /// `invalidate_everywhere` forgets the CPU of this number.
    ForgetsCpu(usize),
    /// `invalidate_everywhere` only invalidates where it is called.
    InvalidatesHereOnly,
    /// `publish` does nothing.
    PublishesNothing,
    /// Entries are written without Accessed and Dirty.
    LeavesBitsToTheWalker,
}

impl Wrong {
    /// Says whether a broadcast from CPU `here` reaches CPU `number`.
    pub(crate) fn invalidates(self, number: usize, here: usize) -> bool {
        match self {
            Self::ForgetsCpu(forgotten) => number != forgotten,
            Self::InvalidatesHereOnly => number == here,
            _ => true,
        }
    }
}

/// Reads the entry of the page at `page`, behind core's back.
///
/// # Panics
///
/// The page has no leaf table.
pub fn read(page: u64) -> StackEntry {
    entry::decode_stack(current().leaf(page).expect("a page with a leaf table").load(Ordering::Relaxed))
}

/// Says whether the entry of the page at `page` is Accessed, and Dirty.
///
/// # Panics
///
/// The page has no leaf table.
pub fn accessed_dirty(page: u64) -> (bool, bool) {
    let word = current().leaf(page).expect("a page with a leaf table").load(Ordering::Relaxed);
    (word & entry::ACCESSED != 0, entry::is_dirty(word))
}

/// Writes the entry of the page at `page`, behind core's back, and lets the machine look.
///
/// # Panics
///
/// The page has no leaf table.
pub fn write(page: u64, what: StackEntry) {
    current().leaf(page).expect("a page with a leaf table").store(entry::encode_stack(what), Ordering::Relaxed);
    current().observe_all();
}

/// The address of page `number`, counted from the top, of the running thread's stack.
pub fn own_page(number: u64) -> u64 {
    current().context().top.get() - (number + 1) * PAGE_BYTES
}

/// Invalidates a page on CPU `number`, behind core's back.
pub fn invalidate(number: usize, page: u64) {
    current().invalidate(number, page);
}

/// Makes CPU `number` take the translation of a page, as any CPU may.
pub fn walk_ahead(number: usize, page: u64) {
    let machine = current();
    machine.walk(&machine.cpus[number], page, Walk::Ahead);
}

/// Moves the stack pointer of the running thread to `address`, wherever that is.
pub fn set_stack_pointer(address: u64) {
    current().context().stack_pointer.set(address);
}

/// Overwrites what a page holds, behind everybody's back: its first and its last word.
///
/// # Panics
///
/// The page has no frame.
pub fn scribble(page: u64) {
    let (StackEntry::Present { frame } | StackEntry::Resting { frame, .. }) = read(page) else {
        panic!("{page:#x} has no frame")
    };
    for offset in [0, PAGE_BYTES - 8] {
        let word = current().ram.word(PhysAddr::new(frame.as_u64() + offset)).expect("a frame of RAM");
        word.store(0xdead_beef, Ordering::Relaxed);
    }
}

/// Stores to a page on CPU `number`, as a thread there that has a reference into another one's stack.
pub fn store_on(number: usize, page: u64) {
    let machine = current();
    let here = machine.running.replace(number);
    machine.store(page, 1, Use::Thread);
    machine.running.set(here);
}
