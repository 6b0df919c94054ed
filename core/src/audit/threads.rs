//! The two threads of a switch: what must hold of the stack that is run on, and of the one that was left.
#![expect(unsafe_code, reason = "looks at the stacks of threads that this CPU holds")]

use core::ops::Range;
use core::ptr::NonNull;

use super::broken;
use crate::arch::{Cpu, Paging, StackEntry};
use crate::cpu::PerCpu;
use crate::stack::{Note, Stack, StackPolicy};
use crate::sync::atomic::Ordering;
use crate::system::System;
use crate::thread::Thread;

/// The thread that runs: invariants 1 and 3; and that this CPU's stack cache is within its bound, as the way back of frames that
/// are carried from CPU to CPU says: invariant 8.
pub(super) fn check_running<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    // SAFETY: it runs here, in the second half of its own switch, so this CPU holds it and nobody else uses its stack's
    // bookkeeping meanwhile.
    let stack = &*unsafe { thread.stack_mut() };
    check_entries::<S>(thread, stack);
    let stack_pointer = S::Arch::frame_pointer();
    if stack.live_pages(stack_pointer).is_err() {
        broken::<S>(
            3,
            format_args!("{thread} runs with its frame pointer at {stack_pointer:#x}, outside of its stack"),
        );
    }
    // One that was preempted in user mode is pinned, as it is, while it steps aside for those that wait for frames.
    // Where stacks grow from faults, or when their threads ask for more, likewise.
    let grows = S::Policy::GROWS_ON_FAULT || S::Policy::PAGES_UNASKED < usize::MAX;
    let is_whole = (S::Policy::RUNS_POPULATED || stack.is_pinned() && !grows) && !stack.is_in_user_mode();
    if is_whole && stack.absent() > 0 {
        broken::<S>(1, format_args!("{thread} runs, and {} pages of its stack are absent", stack.absent()));
    }
    if grows && !stack.is_in_user_mode() && is_resting_below::<S>(stack) {
        broken::<S>(5, format_args!("{thread} runs, and the page below what it has rests: some CPU may know it"));
    }
    let (cached, bound) = (cpu.with_stack_cache(|cache| cache.len()), S::kernel().settings.cache());
    if cached > bound {
        broken::<S>(
            8,
            format_args!("CPU {} has {cached} frames in its stack cache, beyond its bound of {bound}", cpu.number),
        );
    }
    for page in 0..stack.populated() {
        if let StackEntry::Present { frame } = S::Arch::decode_stack(stack.entry(page).load(Ordering::Relaxed))
            && cpu.with_stack_cache(|cache| cache.contains(frame))
        {
            broken::<S>(5, format_args!("frame {frame:#x} is page {page} of {thread}, and in the stack cache"));
        }
    }
}

/// Says whether the page right below the populated ones rests.
fn is_resting_below<S: System>(stack: &Stack) -> bool {
    stack.absent() > 0
        && matches!(
            S::Arch::decode_stack(stack.entry(stack.populated()).load(Ordering::Relaxed)),
            StackEntry::Resting { .. }
        )
}

/// The thread that was left: invariant 2.
pub(super) fn check_left<S: System>(thread: &'static Thread) {
    // SAFETY: it has been left and not yet handed on, so this CPU holds it.
    let stack = &*unsafe { thread.stack_mut() };
    check_entries::<S>(thread, stack);
    match stack.live_pages(thread.saved_stack_pointer()) {
        Ok(live) if live <= stack.populated() + usize::from(stack.has_emergency_page()) => {}
        // A frame's lowest part may not have been touched yet: where stacks grow from faults, its page comes then.
        Ok(_) if S::Policy::GROWS_ON_FAULT => {}
        Ok(live) => {
            broken::<S>(2, format_args!("{thread} left {live} live pages, and {} are present", stack.populated()))
        }
        Err(outside) => broken::<S>(3, format_args!("{thread} was left: {outside}")),
    }
}

/// The entries of a slot against what is known of its stack.
fn check_entries<S: System>(thread: &'static Thread, stack: &Stack) {
    for page in 0..stack.pages() {
        let entry = S::Arch::decode_stack(stack.entry(page).load(Ordering::Relaxed));
        let present = matches!(entry, StackEntry::Present { .. });
        if present != (page < stack.populated()) {
            broken::<S>(
                2,
                format_args!("page {page} of {thread} is {entry:?}, and {} are populated", stack.populated()),
            );
        }
    }
    let guard = stack.pages() + usize::from(stack.has_emergency_page())..stack.slot_pages(S::Policy::GUARD);
    check_guard::<S>(&thread, guard, |page| stack.entry(page).load(Ordering::Relaxed));
    if Note::load(stack.note(S::Policy::GUARD)) != Note::Owner(NonNull::from(thread)) {
        broken::<S>(7, format_args!("the slot of {thread} does not name it"));
    }
}

/// No guard page is present, but the highest one of a thread that has survived an overflow: invariant 10. `guard` is without that.
pub(super) fn check_guard<S: System>(
    whose: &dyn core::fmt::Display,
    guard: Range<usize>,
    entry: impl Fn(usize) -> u64,
) {
    for page in guard {
        if matches!(S::Arch::decode_stack(entry(page)), StackEntry::Present { .. }) {
            broken::<S>(10, format_args!("a guard page of {whose} is present"));
        }
    }
}
