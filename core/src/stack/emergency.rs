//! `ebbtide.overflow=survive`: one more page for a thread that has gone below its stack.
//!
//! The question of the mailing list: crash, or warn and survive? By default an overflow ends the run. With this word of the command
//! line the thread's highest guard page is populated, once, the report comes as a warning, and the thread goes on. The guard below
//! that page stays.
//!
//! The fault may have come anywhere, with any lock held. So its handler takes no lock and changes nothing that the interrupted code
//! may be about to: not what is known of the stack's pages, nor a stack cache. Each CPU has one frame set by, in an atomic; the handler
//! swaps that of its CPU out; if there is none, the run ends. It is set by anew in thread context: when the CPU goes idle, and when such
//! a page is given back there.
//!
//! Where a slot's guard is a single page, there is none to spare: it guards, and its entry is the slot's note. A thread that has not
//! asked for all of such a stack gets the next page of that, which is the stack's own from then on; for one that has, an overflow is
//! the end, and the report says why.
//!
//! A guard page that is spared is none of the stack's, so no policy is asked about it: it stays when the thread sleeps, and goes when
//! the thread has ended, before the slot can serve another one, once no CPU knows its address.
#![expect(unsafe_code, reason = "changes the stack that is in use")]

use core::sync::atomic::AtomicU64;

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{Cpu, PAGE_BYTES, Paging, StackEntry};
use crate::cpu::{self, PerCpu};
use crate::memory::unmap::unmap;
use crate::stack::ensure::asks_for_more;
use crate::stack::page::Stack;
use crate::stack::policy::StackPolicy;
use crate::stack::slot::{Guard, MIN_STACK_BYTES, Slot};
use crate::sync::atomic::Ordering;
use crate::system::System;
use crate::thread::Thread;

/// A frame that is set by, or none, as 0.
#[derive(Debug)]
pub(crate) struct Spare(AtomicU64);

/// Marks a frame's address, whatever that is, as one.
const IS_THERE: u64 = 1;

impl Spare {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    fn put(&self, frame: PhysAddr) {
        self.0.store(frame.as_u64() | IS_THERE, Ordering::Relaxed);
    }

    fn take(&self) -> Option<PhysAddr> {
        let word = self.0.swap(0, Ordering::Relaxed);
        (word != 0).then(|| PhysAddr::new(word & !IS_THERE))
    }

    /// The frame, for who looks at all of them.
    pub(crate) fn frame(&self) -> Option<PhysAddr> {
        let word = self.0.load(Ordering::Relaxed);
        (word != 0).then(|| PhysAddr::new(word & !IS_THERE))
    }
}

/// What becomes of an overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The thread goes on, on its emergency page.
    GoesOn,
    /// The run ends, as always where nobody asked for more; else it is said why.
    Ends(&'static str),
}

/// Sets a frame by for overflows on this CPU, if they are to be survived and none is. Thread context, or the boot; preemption is off.
#[inline]
pub(crate) fn set_by<S: System>(cpu: &PerCpu) {
    if S::kernel().settings.survives_overflow() {
        allocate::<S>(cpu);
    }
}

#[cold]
#[inline(never)]
fn allocate<S: System>(cpu: &PerCpu) {
    if !cpu.spare.is_there()
        && let Some(frame) = S::kernel().frames.with::<S, _>(|frames| frames.allocate())
    {
        S::kernel().accounts.emergency.add(1);
        cpu.spare.put(frame);
    }
}

/// Populates the highest guard page of the stack of `owner`, or the highest that it has not asked for. It has touched `address` below what it
/// has, in a trap of this thread. `populated` is how many of its pages are.
#[cold]
#[inline(never)]
pub(crate) fn give<S: System>(slot: Slot, owner: &Thread, populated: usize, address: VirtAddr) -> Fate {
    if !S::kernel().settings.survives_overflow() {
        return Fate::Ends("");
    }
    if owner.has_survived() {
        return Fate::Ends("its emergency page is used up");
    }
    let is_whole = populated == slot.class.stack_pages(S::Policy::GUARD);
    if is_whole && S::Policy::GUARD == Guard::Page {
        return Fate::Ends("it has all of its stack, and its slot has no guard page to spare under this policy");
    }
    // A jump over the page, or over one that is not there: what lies between would be a hole.
    let lowest = slot.top() - (populated as u64 + 1) * PAGE_BYTES;
    if address < lowest || !is_whole && !asks_for_more::<S>() {
        return Fate::Ends("no page reaches so far");
    }
    let Some(frame) = S::Arch::per_cpu().spare.take() else {
        return Fate::Ends("no frame is set by for it");
    };
    if !is_whole {
        return lend::<S>(owner, frame, populated + 1);
    }
    owner.emergency_entry().store(S::Arch::encode_stack(StackEntry::Present { frame }), Ordering::Release);
    S::Arch::publish();
    owner.note_emergency_page();
    Fate::GoesOn
}

/// Populates one page more of a stack that is not whole, for good.
fn lend<S: System>(owner: &Thread, frame: PhysAddr, pages: usize) -> Fate {
    // SAFETY: it runs here, so this CPU holds it. What was interrupted is not about to change what is populated: `stack::ensure`
    // is refused where so little is left, and a switch and an exit to user mode have room.
    let stack = unsafe { owner.stack_mut() };
    let populated = stack.populate::<S::Arch, S::Policy>(pages, || Some(frame));
    assert_eq!(populated, Ok(1), "what a running thread has not asked for is empty");
    S::kernel().accounts.emergency.sub(1);
    owner.note_survival();
    Fate::GoesOn
}

/// Takes the page back from the stack of a thread that has ended. It is a guard page again for every CPU before the slot serves
/// another thread, or the frame anything else; a frame is set by here once more. Interrupts are on.
#[cold]
#[inline(never)]
pub(crate) fn take_back<S: System>(stack: &Stack) {
    cpu::without_preemption::<S, _>(|| {
        let cpu = cpu::this::<S>();
        let end = stack.limit().as_u64();
        cpu.shootdown.begin();
        unmap::<S>(end - PAGE_BYTES..end, &S::kernel().accounts.emergency);
        cpu.shootdown.end();
        stack.note_emergency_page(false);
        allocate::<S>(cpu);
    });
}

const _: () = assert!(MIN_STACK_BYTES >= 2 * PAGE_BYTES, "the emergency page's entry is not the slot's note");
