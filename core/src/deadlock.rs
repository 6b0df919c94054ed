//! A machine on which nothing can happen any more is told, not left to hang.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use crate::console::Report;
use crate::cpu;
use crate::platform::Platform;
use crate::report::{self, End};
use crate::stack::StackPolicy;
use crate::system::System;

/// How often it is said that threads wait for frames while nothing else runs, in nanoseconds.
const TELL_EVERY_NS: u64 = 10_000_000_000;

/// Ends the run if no thread is ready and none can become so: no timer is armed, and there is no device that could
/// bring news. If threads wait for frames, that is a deadlock on memory for stacks; while a timer is armed, it is a
/// warning. Called by the idle thread with interrupts off, when it has done what it can for those who wait.
pub(crate) fn check<S: System>() {
    let kernel = S::kernel();
    if kernel.cpus().any(|cpu| cpu.is_busy()) {
        return;
    }
    let is_timer_armed = kernel.timers.locked::<S, _>(|timers| timers.next().is_some());
    match kernel.stack_wait.parked() {
        0 if is_timer_armed => {}
        0 => all_wait_for_each_other::<S>(),
        _ if is_timer_armed => tell::<S>(),
        _ => {
            let _ =
                writeln!(Report::<S>::new(), "ebbtide: deadlock on memory for stacks: {}", Shortage::<S>(PhantomData));
            report::end::<S>(End::StackDeadlock)
        }
    }
}

fn all_wait_for_each_other<S: System>() -> ! {
    let threads = S::kernel().live_threads.load(Ordering::Relaxed);
    let _ = writeln!(
        Report::<S>::new(),
        "ebbtide: deadlock: all {threads} threads wait for each other, and no timer is armed that could wake one"
    );
    report::end::<S>(End::Panic)
}

/// Warns, but not all the time.
fn tell<S: System>() {
    let told = &S::kernel().stack_wait.told;
    let (now, last) = (S::Platform::now(), told.load(Ordering::Relaxed));
    if last == 0 || now - last >= TELL_EVERY_NS {
        told.store(now.max(1), Ordering::Relaxed);
        log::warn!("only a timer can end this: {}", Shortage::<S>(PhantomData));
    }
}

/// Who waits for what, and where it is.
struct Shortage<S>(PhantomData<fn() -> S>);

impl<S: System> fmt::Display for Shortage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = S::kernel();
        let (parked, threads) = (kernel.stack_wait.parked(), kernel.live_threads.load(Ordering::Relaxed));
        write!(f, "{parked} of {threads} threads wait for frames under policy {}", S::Policy::NAME)?;
        let first = kernel.stack_wait.with_first::<S, _>(|thread, stack| (thread, stack.absent(), stack.pages()));
        if let Some((thread, absent, pages)) = first {
            write!(f, "; the first, {thread}, lacks {absent} of {pages}")?;
        }
        let cache = cpu::this::<S>().with_stack_cache(|cache| cache.len());
        let counts = kernel.frame_counts_now::<S>();
        let (heap, tables) = (kernel.accounts.heap.get(), kernel.accounts.tables.get());
        let stacks = counts.total.saturating_sub(counts.free + heap + tables + cache);
        write!(
            f,
            "; of {} frames {} are free, {cache} in the stack cache, {heap} in the heap, {tables} in page tables and {stacks} \
             in stacks",
            counts.total, counts.free,
        )
    }
}
