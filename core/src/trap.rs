//! What traps mean, whatever the architecture: an interrupt, a stack overflow, an exception that nobody handles.
//!
//! An architecture's entry code calls these from a trap stack, with interrupts off.

use core::fmt;
use core::sync::atomic::Ordering;

use align_address::Align;
use memory_addresses::VirtAddr;

use crate::arch::{Cpu, PAGE_BYTES, Paging, TableEntry};
use crate::audit;
use crate::console;
use crate::platform::{Interrupt, Ipi, Platform};
use crate::report::{self, Place};
use crate::shootdown;
use crate::stack::emergency::{self, Fate};
use crate::stack::{self, Slot, StackPolicy, growth};
use crate::stop;
use crate::system::System;
use crate::thread;

/// A trap has come. An architecture's entry code says so of each, but of those that end the run, before anything else; and, if asked,
/// what it has interrupted, unless that was in user mode. `number` is its own on this architecture.
#[inline(always)]
pub fn came<S: System>(number: u64, interrupted: impl FnOnce() -> Option<Place>) {
    audit::trapped::<S>(number);
    audit::interrupted::<S>(interrupted);
}

/// An interrupt came in on `vector`; 0 where only the machine's interrupt controller knows which one it is. Returns
/// whether the interrupted thread should be preempted.
///
/// If so, the architecture moves to that thread's stack and calls [`preempt`] there.
pub fn interrupt<S: System>(vector: u32) -> bool {
    let cpu = S::Arch::per_cpu();
    audit::interrupts_off::<S>();
    // Each says by itself what it is: a value for that would be put together each time.
    match S::Platform::interrupt(vector) {
        Interrupt::Timer => {
            audit::interrupted_by::<S>(Interrupt::Timer);
            thread::timer_interrupt::<S>();
        }
        Interrupt::Ipi(Ipi::Reschedule) => {
            audit::interrupted_by::<S>(Interrupt::Ipi(Ipi::Reschedule));
            audit::faults::delay::<S>(cpu);
            thread::reschedule_interrupt::<S>(cpu);
        }
        Interrupt::Ipi(Ipi::Shootdown) => {
            audit::interrupted_by::<S>(Interrupt::Ipi(Ipi::Shootdown));
            audit::faults::delay::<S>(cpu);
            shootdown::answer::<S>(cpu);
        }
        Interrupt::Ipi(Ipi::Stop) => stop::stop_here::<S>(),
        Interrupt::Spurious => {
            audit::interrupted_by::<S>(Interrupt::Spurious);
            cpu.spurious_interrupts.fetch_add(1, Ordering::Relaxed);
        }
        Interrupt::Unexpected(number) => {
            audit::interrupted_by::<S>(Interrupt::Unexpected(number));
            cpu.unexpected_interrupts.fetch_add(1, Ordering::Relaxed);
            note::<S>(format_args!("unexpected interrupt {number:#04x}"));
        }
    }
    let preempt = cpu.need_resched.load(Ordering::Relaxed) && S::Arch::preempt_count() == 0;
    if !preempt {
        audit::interrupts_on::<S>();
    }
    preempt
}

/// Preempts the interrupted thread, on whose stack the caller stands. Interrupts are off, and the caller returns to what
/// was interrupted, there.
pub fn preempt<S: System>(interrupted: impl FnOnce() -> Place) {
    audit::preempts::<S>(interrupted);
    thread::preempt::<S>();
    audit::preempted::<S>();
    audit::interrupts_on::<S>();
}

/// A fault on an address that is not mapped as the access needs. `what` says what was tried; `absent`, that the CPU found
/// no mapping. Returns if the access can be tried again: the page was populated meanwhile, and what the CPU knew was old.
/// So does an overflow that is survived. What else may resume is looked at before: [`grow_stack`].
pub fn page_fault<S: System>(what: impl fmt::Display, absent: bool, at: &Place) {
    audit::seen_in_trap::<S>();
    if absent
        && let Some(slot) = Slot::of(at.address)
        && stack::is_populated::<S>(slot, at.address)
    {
        S::Arch::per_cpu().spurious_faults.fetch_add(1, Ordering::Relaxed);
        S::Arch::invalidate_local(at.address.align_down(PAGE_BYTES));
        return;
    }
    count_stack_fault::<S>(at.address);
    if overflow::<S>(at.address, at, true) {
        return;
    }
    report::exception::<S>(format_args!("page fault ({what}) at address {:#x}", at.address), at)
}

/// Populates the running thread's stack down to `at.address`, if that is what a fault there asks for under the policy; `absent`
/// says that the CPU found no mapping. Returns whether the access can be tried again. Takes no lock, and comes before all else
/// that a fault can mean: code that expects faults elsewhere has its stack too.
#[inline]
pub fn grow_stack<S: System>(absent: bool, at: &Place) -> bool {
    S::Policy::GROWS_ON_FAULT && absent && growth::fault::<S>(at)
}

/// Populates what a preemption needs below `stack_pointer`, on the stack of the interrupted thread, under a policy whose threads
/// may lack it.
#[inline]
pub fn make_room_to_preempt<S: System>(stack_pointer: VirtAddr, bytes: u64, at: &Place) {
    if S::Policy::GROWS_ON_FAULT {
        growth::make_room::<S>(stack_pointer, bytes, at);
    }
}

/// A fault on a page whose entry says that it was never accessed, on a CPU that leaves it to a handler to say otherwise. Returns
/// whether the page is mapped: then the access can be tried again. Takes no lock.
pub fn access_fault<S: System>(address: VirtAddr) -> bool {
    let is_mapped = note_access::<S>(address);
    audit::seen_in_trap::<S>();
    if is_mapped {
        S::Arch::per_cpu().access_faults.fetch_add(1, Ordering::Relaxed);
    }
    is_mapped
}

/// The caller is a handler, which must not fault, and is about to touch `bytes` of a thread's stack from `address` on. Where
/// entries there may say that they were never accessed, and it is left to a handler to say otherwise, that is said now.
#[inline]
pub fn will_touch<S: System>(address: VirtAddr, bytes: u64) {
    if S::Policy::READS_ACCESSED_BITS {
        let last = VirtAddr::new_truncate(address.as_u64().wrapping_add(bytes - 1));
        note_access::<S>(address);
        if last.align_down(PAGE_BYTES) != address.align_down(PAGE_BYTES) {
            note_access::<S>(last);
        }
    }
}

/// Sets the accessed bit in the entry of the page that holds `address`. Returns whether the page is mapped.
fn note_access<S: System>(address: VirtAddr) -> bool {
    let Some((entry, level)) = S::kernel().tables::<S>().leaf(address) else { return false };
    // Only as long as it maps something: in an entry that does not, the bit is another thing's.
    let maps = |word| matches!(S::Arch::decode(word, level), TableEntry::Leaf(_));
    let noted =
        entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| maps(word).then_some(word | S::Arch::ACCESSED));
    S::Arch::publish();
    noted.is_ok()
}

/// Counts a fault, if it is one on an address of the stack range.
pub fn count_stack_fault<S: System>(address: VirtAddr) {
    if Slot::of(address).is_some() {
        S::Arch::per_cpu().stack_faults.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reports a stack overflow, and ends the run, if `address` lies below the end of the stack that the stack pointer is in.
/// A stray pointer into another stack's guard is none.
pub fn report_overflow<S: System>(address: VirtAddr, at: &Place) {
    overflow::<S>(address, at, false);
}

/// The same, but if the trap `resumes`, and overflows are to be survived, the thread may go on: then it says so.
#[inline(never)]
fn overflow<S: System>(address: VirtAddr, at: &Place, resumes: bool) -> bool {
    if let Some((slot, owner)) = stack::owner::<S>(address)
        && ends_above::<S>(slot, address)
        && Slot::of(at.stack_pointer) == Some(slot)
        && let Some(owner) = owner
    {
        let populated = stack::populated::<S>(slot);
        let fate = if resumes { emergency::give::<S>(slot, owner, populated, address) } else { Fate::Ends("") };
        let whose = format_args!("{owner}{}", owner.which_stack());
        report::overflow::<S>(&whose, slot.limit(S::Policy::GUARD), slot.top(), populated, at, fate);
        return true;
    }
    let boot = S::kernel().boot_stack();
    if address < boot.start && boot.start - address <= PAGE_BYTES {
        let pages = (boot.end - boot.start) / PAGE_BYTES;
        report::overflow::<S>(&"the boot code", boot.start, boot.end, pages as usize, at, Fate::Ends(""));
    }
    false
}

/// Says whether a stack ends above an address in its slot: in its guard, or in pages that its thread has not asked for.
fn ends_above<S: System>(slot: Slot, address: VirtAddr) -> bool {
    let is_asked = S::Policy::PAGES_UNASKED < usize::MAX;
    address < slot.limit(S::Policy::GUARD) || is_asked && !stack::is_populated::<S>(slot, address)
}

/// Says whether a trap frame, the scheduler and the switch fit on the interrupted thread's stack, `bytes` in all; if
/// its stack pointer is too near the guard for that, this is an overflow, reported in the thread's name.
///
/// A thread that survives that has its emergency page for it; one that has had it is not preempted there: only what it does itself
/// ends the run.
#[must_use]
#[inline]
pub fn check_room_to_preempt<S: System>(bytes: u64, at: &Place) -> bool {
    let below = VirtAddr::new_truncate(at.stack_pointer.as_u64().wrapping_sub(bytes));
    match Slot::of(below) {
        Some(slot) if !ends_above::<S>(slot, below) => true,
        _ => find_room_to_preempt::<S>(below, at),
    }
}

/// The same below the stack, or where the interrupted code is no thread's.
#[cold]
#[inline(never)]
fn find_room_to_preempt<S: System>(below: VirtAddr, at: &Place) -> bool {
    let Some((slot, Some(owner))) = stack::owner::<S>(at.stack_pointer) else {
        report_overflow::<S>(below, &Place { address: below, ..*at });
        return true;
    };
    // With the emergency page, which it has or may get. One that the stack keeps counts among what is populated.
    let (has_had_it, lowest) = if S::Policy::PAGES_UNASKED < usize::MAX {
        let pages = stack::populated::<S>(slot) + usize::from(!owner.has_survived());
        (owner.has_survived(), slot.top() - pages as u64 * PAGE_BYTES)
    } else {
        (owner.has_emergency_page(), slot.limit(S::Policy::GUARD) - PAGE_BYTES)
    };
    if !has_had_it {
        overflow::<S>(below.max(lowest), &Place { address: below, ..*at }, true);
    }
    let fits = below >= lowest;
    if !fits {
        // The next time slice ends as well, and the thread looks by itself where it allows preemption.
        audit::interrupts_on::<S>();
    }
    fits
}

/// Says that something came that the run survives. Takes no lock: the interrupted thread may hold the console's.
pub fn note<S: System>(what: impl fmt::Display) {
    audit::seen_in_trap::<S>();
    console::print_unlocked::<S>(format_args!("ebbtide: {what}\n"));
}
