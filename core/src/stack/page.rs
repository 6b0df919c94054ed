//! One stack and its pages.
//!
//! A stack's populated pages are always those from the top page down, without a hole. Below them pages rest (not
//! present, but the frame is still the page's own) or are empty.
//!
//! Who may write an entry: a *present* one, only the holder of the stack (the CPU that runs its thread, is about to,
//! or has just left it). A *resting* one, whoever wins the compare-exchange: the holder, who takes it back, or a CPU
//! that frees it. An *empty* one, only the holder.
#![expect(unsafe_code, reason = "leaf entries are memory that the CPU reads")]

use core::ptr::NonNull;
use core::sync::atomic;

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{PAGE_BYTES, Paging, StackEntry};
use crate::stack::entries::{note_entry, page_entry};
use crate::stack::outside::OutsideStack;
use crate::stack::policy::StackPolicy;
use crate::stack::ring::{RestNote, RestingPage, Ring};
use crate::stack::slot::{Guard, Slot};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The stack of a thread, with what is known of its pages.
///
/// It is owned: by its thread, by the list of stacks that are kept for the next thread, or by the CPU that frees it.
#[derive(Debug)]
pub struct Stack {
    /// The address behind the highest byte.
    top: VirtAddr,
    /// The top page's leaf entry; page `i` has the `i`-th entry below it.
    top_entry: NonNull<AtomicU64>,
    /// Pages from the top that are present.
    populated: u16,
    /// Pages of the stack.
    pages: u16,
    /// Raised at each rest; see [`StackEntry::Resting`].
    generation: u32,
    /// Always populated: no policy is asked.
    pinned: bool,
    /// Its thread runs in user mode, or was preempted there: nothing of the kernel's runs on it.
    in_user_mode: bool,
    /// Not 0: pages are to be populated before its thread runs, and only that switch asks the policy. A number, which both architectures tell from 0 in two
    /// instructions, where every switch looks.
    lacking: u8,
    /// Where the note of the last rest stands, in the ring of the CPU that made it.
    note: u8,
    /// Switches away from its thread until accesses are forgotten; 0 if they never are. See [`Stack::is_time_to_forget`].
    forgets_in: u16,
    /// Pages that were rested since the stack's thread was spawned, counted at each rest. Written by the owner alone.
    rested: atomic::AtomicU64,
    /// Whether the highest guard page is populated too, since the thread has survived an overflow. Set by a trap of the thread itself,
    /// whatever that was at; see [`emergency`](crate::stack::emergency).
    has_emergency_page: atomic::AtomicBool,
}

// SAFETY: the entries belong to the slot, which the stack owns; they are atomics that every CPU may touch.
unsafe impl Send for Stack {}

impl Stack {
    /// Names the stack in `slot`, none of whose pages is populated. `generation` is that of the slot's last rest.
    ///
    /// # Safety
    ///
    /// `top_entry` is the leaf entry of the slot's highest page, in a table that is never freed; nobody else owns
    /// the slot; all of the stack's entries are empty or resting.
    pub unsafe fn new(slot: Slot, guard: Guard, top_entry: NonNull<AtomicU64>, generation: u32) -> Self {
        let pages = slot.class.stack_pages(guard) as u16;
        Self {
            top: slot.top(),
            top_entry,
            populated: 0,
            pages,
            generation,
            pinned: false,
            in_user_mode: false,
            lacking: 0,
            note: 0,
            forgets_in: 0,
            rested: atomic::AtomicU64::new(0),
            has_emergency_page: atomic::AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let class = crate::stack::SizeClass::for_stack(1, Guard::Half).expect("a smallest class");
        // SAFETY: the entry is never looked at.
        unsafe { Self::new(Slot { class, number: 0 }, Guard::Half, NonNull::dangling(), 0) }
    }

    /// The slot.
    pub fn slot(&self) -> Slot {
        Slot::of(VirtAddr::new(self.top.as_u64() - 1)).expect("a stack lies in the stack range")
    }

    /// The address behind the highest byte.
    pub fn top(&self) -> VirtAddr {
        self.top
    }

    /// The lowest address; the guard pages lie below.
    pub fn limit(&self) -> VirtAddr {
        VirtAddr::new(self.top.as_u64() - self.bytes())
    }

    /// Bytes from the limit to the top.
    fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE_BYTES
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.pages.into()
    }

    /// Number of pages of its slot, those of the guard too.
    pub(crate) fn slot_pages(&self, guard: Guard) -> usize {
        match guard {
            Guard::Half => 2 * self.pages(),
            Guard::Page => self.pages() + 1,
        }
    }

    /// Number of pages, from the top, that are populated.
    pub fn populated(&self) -> usize {
        self.populated.into()
    }

    /// Number of pages that are not populated. Those that rest need no frame, unless somebody frees them first.
    pub fn absent(&self) -> usize {
        (self.pages - self.populated).into()
    }

    /// The lowest address of the pages that are populated.
    pub(crate) fn lowest(&self) -> VirtAddr {
        self.limit() + self.absent() as u64 * PAGE_BYTES
    }

    /// Says whether the stack is always populated.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Says whether its thread runs in user mode, or was preempted there. Kept under policies that change stacks at entries.
    pub fn is_in_user_mode(&self) -> bool {
        self.in_user_mode
    }

    /// Notes that the thread goes to user mode, or has come from there.
    pub(crate) fn set_in_user_mode(&mut self, in_user_mode: bool) {
        self.in_user_mode = in_user_mode;
    }

    /// Says whether its thread lacks pages: it was swept, or has not run yet. Kept under policies with a reclaimer.
    #[inline]
    pub fn is_lacking(&self) -> bool {
        self.lacking != 0
    }

    /// Notes that its thread lacks pages, or that they are all there.
    pub(crate) fn set_lacking(&mut self, lacking: bool) {
        self.lacking = lacking.into();
    }

    /// Leaves the stack to the policy, or does not from now on; all of it is populated then. Returns whether it was pinned.
    pub(crate) fn pin(&mut self, pinned: bool) -> bool {
        core::mem::replace(&mut self.pinned, pinned)
    }

    /// The generation of the last rest.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Where it is counted how many pages were rested since the stack's thread was spawned, at each rest.
    ///
    /// # Safety
    ///
    /// `stack` points to a stack that is there for as long as the result. Somebody else may own it.
    pub(crate) unsafe fn rested_in<'a>(stack: *const Self) -> &'a atomic::AtomicU64 {
        // SAFETY: by the caller's promise. Of all the stack this is the only part that is referred to, and it is atomic.
        unsafe { &(*stack).rested }
    }

    /// Where it stands whether the thread has its emergency page.
    ///
    /// # Safety
    ///
    /// As of [`Stack::rested_in`].
    pub(crate) unsafe fn has_emergency_page_in<'a>(stack: *const Self) -> &'a atomic::AtomicBool {
        // SAFETY: by the caller's promise. Of all the stack this is the only part that is referred to, and it is atomic.
        unsafe { &(*stack).has_emergency_page }
    }

    /// The entry of that page: the highest guard page.
    ///
    /// # Safety
    ///
    /// As of [`Stack::rested_in`].
    pub(crate) unsafe fn emergency_entry_of(stack: *const Self) -> &'static AtomicU64 {
        // SAFETY: by the caller's promise. Neither of the two parts ever changes, so whoever owns the stack may be about to.
        let top_entry = unsafe { (*stack).top_entry };
        // SAFETY: as above.
        let pages = unsafe { (*stack).pages };
        page_entry(top_entry, pages.into())
    }

    /// Says whether the thread has its emergency page, below the stack.
    pub(crate) fn has_emergency_page(&self) -> bool {
        self.has_emergency_page.load(Ordering::Relaxed)
    }

    /// Notes that it has, or has no more.
    pub(crate) fn note_emergency_page(&self, is_there: bool) {
        self.has_emergency_page.store(is_there, Ordering::Relaxed);
    }

    /// Prepares the stack for a new thread.
    pub(crate) fn begin(&mut self, pinned: bool) {
        self.pinned = pinned;
        self.in_user_mode = false;
        self.lacking = 0;
        self.forget_rests();
    }

    /// From now on accesses are forgotten at every `period`-th switch away from the thread; never, if that is 0.
    pub(super) fn forgets_after(&mut self, period: u16) {
        self.forgets_in = period;
    }

    /// The thread is being left: says whether it is time to forget which pages it has accessed. `period` is asked when it is.
    #[inline]
    pub(super) fn is_time_to_forget(&mut self, period: impl FnOnce() -> u16) -> bool {
        if self.forgets_in == 0 {
            return false;
        }
        self.forgets_in -= 1;
        let is_time = self.forgets_in == 0;
        if is_time {
            self.forgets_in = period();
        }
        is_time
    }

    /// Counts the rests of a stack that its thread has used meanwhile as this one's.
    pub(super) fn count_rests_of(&self, other: &Self) {
        self.rested.fetch_add(other.rested.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Forgets how many pages were rested.
    pub(crate) fn forget_rests(&mut self) {
        self.rested.store(0, Ordering::Relaxed);
    }

    /// Number of pages, from the top, that hold a byte at or above `stack_pointer`: at least the top page; one more than the stack
    /// has, if it is in the emergency page.
    ///
    /// # Errors
    ///
    /// The stack pointer lies outside of the stack.
    pub fn live_pages(&self, stack_pointer: VirtAddr) -> Result<usize, OutsideStack> {
        // A stack pointer above the top wraps round to a very large number.
        let used = self.top.as_u64().wrapping_sub(stack_pointer.as_u64());
        if used > self.bytes() {
            return self.live_pages_below(stack_pointer, used);
        }
        // The page of the last byte that is in use; of the top byte if none is.
        Ok((used.saturating_sub(1) / PAGE_BYTES) as usize + 1)
    }

    /// An address below the stack, but none below what there is: the limit, or the emergency page's lowest byte.
    #[cold]
    #[inline(never)]
    pub(crate) fn in_bounds(&self, below: VirtAddr) -> VirtAddr {
        below.max(if self.has_emergency_page() { self.limit() - PAGE_BYTES } else { self.limit() })
    }

    /// The same below the stack: all of its pages and the emergency page, if that is where the stack pointer is.
    #[cold]
    #[inline(never)]
    fn live_pages_below(&self, stack_pointer: VirtAddr, used: u64) -> Result<usize, OutsideStack> {
        if self.has_emergency_page() && used <= self.bytes() + PAGE_BYTES {
            return Ok(self.pages() + 1);
        }
        Err(OutsideStack { stack_pointer, limit: self.limit(), top: self.top })
    }

    /// Populates the pages from the top down until `pages` are. Resting ones are taken back; the others take what
    /// `new_frame` gives. Returns how many entries were written.
    ///
    /// # Errors
    ///
    /// `new_frame` gave nothing; what was populated stays so.
    #[inline]
    pub(crate) fn populate<P: Paging, Q: StackPolicy>(
        &mut self,
        pages: usize,
        mut new_frame: impl FnMut() -> Option<PhysAddr>,
    ) -> Result<usize, NoFrame> {
        let wanted = pages.min(self.pages());
        let (before, top_entry) = (self.populated(), self.top_entry);
        let mut result = Ok(());
        let mut page = before;
        while page < wanted {
            let entry = page_entry(top_entry, page);
            if !take_back::<P, Q>(entry) {
                let Some(frame) = new_frame() else {
                    result = Err(NoFrame);
                    break;
                };
                entry.store(present::<P, Q>(frame), Ordering::Release);
            }
            page += 1;
        }
        self.populated = page as u16;
        P::publish();
        result.map(|()| page - before)
    }

    /// Takes back the resting pages right below the populated ones, and says how many frames the rest needs.
    pub(crate) fn take_back_resting<P: Paging, Q: StackPolicy>(&mut self) -> usize {
        let before = self.populated;
        while self.populated < self.pages && take_back::<P, Q>(self.entry(self.populated.into())) {
            self.populated += 1;
        }
        if self.populated > before {
            P::publish();
        }
        self.absent()
    }

    /// The absent pages that rest.
    pub(crate) fn resting<P: Paging>(&self) -> impl Iterator<Item = RestingPage> + use<P> {
        let (top, top_entry) = (self.top, self.top_entry);
        (self.populated..self.pages).filter_map(move |page| RestingPage::of::<P>(top, top_entry, page))
    }

    /// Lets every page below the first `keep` rest, and notes it in `ring`.
    ///
    /// The holder has seen to it that the ring has room, and that nothing can touch these pages: the stack pointer
    /// has left the stack, or nothing goes so far down until it has.
    #[inline]
    pub(crate) fn rest<P: Paging, Q: StackPolicy>(&mut self, keep: usize, ring: &mut Ring) -> Rested {
        let populated = self.populated();
        if populated <= keep {
            return Rested { pages: 0, is_new: false };
        }
        let generation = self.next_generation::<P>();
        for page in keep..populated {
            let entry = self.entry(page);
            let StackEntry::Present { frame } = P::decode_stack(entry.load(Ordering::Relaxed)) else {
                self.not_present(page);
            };
            let resting = P::encode_stack(StackEntry::Resting { frame, generation });
            if Q::READS_ACCESSED_BITS {
                // A walker may write as well.
                entry.swap(resting, Ordering::Release);
            } else {
                entry.store(resting, Ordering::Release);
            }
        }
        self.note_rest(keep, generation, ring)
    }

    /// Notes that the pages from `keep` on rest with a new generation.
    #[inline(always)]
    pub(super) fn note_rest(&mut self, keep: usize, generation: u32, ring: &mut Ring) -> Rested {
        let populated = self.populated();
        let (first, count) = (keep as u16, (populated - keep) as u16);
        let note = RestNote { top: self.top, top_entry: self.top_entry, first, count, generation };
        let is_new = self.populated != self.pages || !ring.renew(self.note, note);
        if is_new {
            self.note = ring.push(note);
        }
        self.generation = generation;
        self.populated = first;
        // One writes, and others read.
        self.rested.store(self.rested.load(Ordering::Relaxed) + u64::from(count), Ordering::Relaxed);
        Rested { pages: count.into(), is_new }
    }

    /// The generation of the next rest.
    #[inline(always)]
    pub(super) fn next_generation<P: Paging>(&self) -> u32 {
        (self.generation + 1) % (1 << P::GENERATION_BITS)
    }

    #[cold]
    pub(super) fn not_present(&self, page: usize) -> ! {
        panic!("page {page} of the stack at {:#x} is not present, though it was populated", self.top)
    }

    /// The leaf entry of a page, or of a guard page below the last one.
    #[inline]
    pub(crate) fn entry(&self, page: usize) -> &'static AtomicU64 {
        page_entry(self.top_entry, page)
    }

    /// The note of the slot: the entry of its lowest guard page.
    pub(crate) fn note(&self, guard: Guard) -> &'static AtomicU64 {
        note_entry(self.slot_pages(guard), self.top_entry)
    }
}

/// What [`Stack::rest`] did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rested {
    /// How many pages it let rest.
    pub pages: usize,
    /// Whether the ring has one note more: these pages were not noted already.
    pub is_new: bool,
}

/// There is no frame for a stack page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrame;

/// The entry of a page that is populated.
#[inline(always)]
fn present<P: Paging, Q: StackPolicy>(frame: PhysAddr) -> u64 {
    let entry = P::encode_stack(StackEntry::Present { frame });
    if Q::READS_ACCESSED_BITS { entry & !P::ACCESSED } else { entry }
}

/// Sets a resting entry present again, if it rests: same frame, same attributes, so no invalidation.
#[inline]
fn take_back<P: Paging, Q: StackPolicy>(entry: &AtomicU64) -> bool {
    let old = entry.load(Ordering::Relaxed);
    let StackEntry::Resting { frame, .. } = P::decode_stack(old) else { return false };
    let new = present::<P, Q>(frame);
    entry.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}
