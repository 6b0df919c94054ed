//! A machine on which nothing can happen any more is told, not left to hang.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use crate::arch::Cpu;
use crate::audit;
use crate::console::Report;
use crate::cpu::{self, PerCpu};
use crate::platform::Platform;
use crate::report::{self, End};
use crate::stack::StackPolicy;
use crate::stop::stop_others;
use crate::system::System;
use crate::thread::placement::{self, IsTimerArmed};
use crate::thread::stack_wait;

/// How often it is said that threads wait for frames while nothing else runs, in nanoseconds.
const TELL_EVERY_NS: u64 = 10_000_000_000;

/// Whether the last resort brought nothing, when this CPU had begun to watch whether one stirs.
#[derive(Debug, Default)]
pub(crate) struct InVain(bool);

/// Says whether an interrupt may bring news; if not, the caller looks again whether it has something to do. Ends the run if no
/// thread is ready on any CPU and none can become so: no timer is armed, and there is no device that could bring news. If
/// threads wait for frames, that is a deadlock on memory for stacks, once the last resort has been tried in vain since anything
/// happened; while a timer is armed, it is a warning. Called by the idle thread with interrupts off, when its CPU is idle.
pub(crate) fn is_there_hope<S: System>(cpu: &PerCpu, in_vain: &mut InVain) -> bool {
    let kernel = S::kernel();
    audit::race::<S>();
    in_vain.0 &= kernel.placement.watch(cpu);
    // Before: whoever makes a parked thread ready stirs first.
    audit::race::<S>();
    let parked = kernel.stack_wait.parked();
    let Some(IsTimerArmed(is_timer_armed)) = placement::is_quiet::<S>(cpu) else { return true };
    if parked == 0 {
        if !is_timer_armed {
            all_wait_for_each_other::<S>();
        }
        return true;
    }
    if !in_vain.0 {
        let served = with_interrupts_on::<S, _>(|| stack_wait::last_resort::<S>(cpu));
        in_vain.0 = served == Some(false);
        // Who is at it on another CPU looks once more itself.
        return served.is_none();
    }
    // So that no CPU takes the queue apart meanwhile, of which the first is told; one that is at that looks once more itself.
    let told = kernel.stack_wait.at_last_resort::<S, _>(|| {
        if !is_timer_armed {
            stop_others::<S>();
            let _ =
                writeln!(Report::<S>::new(), "ebbtide: deadlock on memory for stacks: {}", Shortage::<S>(PhantomData));
            report::end::<S>(End::StackDeadlock)
        }
        tell::<S>();
    });
    // Whoever came to the last resort meanwhile, and was sent away, had stirred before.
    told.is_none() || kernel.placement.is_undisturbed(cpu)
}

/// Runs `f` with interrupts on and preemption off.
fn with_interrupts_on<S: System, R>(f: impl FnOnce() -> R) -> R {
    S::Arch::preempt_disable();
    cpu::unmask_interrupts::<S>();
    let result = f();
    cpu::mask_interrupts::<S>();
    S::Arch::preempt_enable();
    result
}

fn all_wait_for_each_other<S: System>() -> ! {
    stop_others::<S>();
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
    let is_time = last == 0 || now.saturating_sub(last) >= TELL_EVERY_NS;
    // One of the CPUs that have come here.
    if is_time && told.compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
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
        let first = kernel.stack_wait.try_with_first::<S, _>(|thread, stack| (thread, stack.absent(), stack.pages()));
        if let Some((thread, absent, pages)) = first {
            write!(f, "; the first, {thread}, lacks {absent} of {pages}")?;
        }
        let cache = cpu::this::<S>().with_stack_cache(|cache| cache.len());
        let counts = kernel.frame_counts_now::<S>();
        let (heap, tables) = (kernel.accounts.heap.get(), kernel.accounts.tables.get());
        let elsewhere = heap + tables + kernel.accounts.user.get() + kernel.accounts.emergency.get();
        let stacks = counts.total.saturating_sub(counts.free + elsewhere + cache);
        write!(
            f,
            "; of {} frames {} are free, {cache} in the stack cache, {heap} in the heap, {tables} in page tables and {stacks} \
             in stacks",
            counts.total, counts.free,
        )
    }
}
