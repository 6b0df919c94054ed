//! The scheduler: who runs next, and the life of a switch.
//!
//! 1. With interrupts off, `next` is taken off the run queue: from now on no other CPU can have it. What it lacks is
//!    compared with this CPU's stack cache. If that is short, the cache is refilled with interrupts on (preemption
//!    off, so this thread keeps the CPU, and no interrupt touches the cache). If that brings too little, `next` is parked
//!    (`stack_wait`), and another thread is taken.
//! 2. First half: the policy populates next's stack, from the reserve, so it cannot fail. One that rests before the switch takes
//!    what prev's does not need ([`departure`]).
//! 3. [`Switch::switch`] saves prev's registers, and moves the stack pointer and "current" with it.
//! 4. Second half, on next's stack: the policy takes what lies below prev's saved stack pointer, and *then* prev is
//!    handed on. A yielding or preempted prev enters the run queue only here; a blocking one by its state word.
//!
//! Brian Gerst's split of `__switch_to` into two parts, so that populating comes before and reclaiming after the
//! stack pointer moves, is steps 2 and 4.
#![expect(unsafe_code, reason = "the switch")]

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::arch::{Cpu, Switch};
use crate::cpu::{self, PerCpu};
use crate::platform::Platform;
use crate::stack::{Incoming, Leaving, Outgoing, Stack, StackPolicy};
use crate::system::System;
use crate::thread::reserve::{is_ready, one_that_can, reserve};
use crate::thread::{Thread, departure, placement, reclaimer, stack_wait, timers};
use crate::{audit, report};

/// How long a thread runs while another of its priority is ready, in nanoseconds.
pub const SLICE_NS: u64 = 10_000_000;

/// Gives way to a thread of the same or a higher priority, if one is ready.
pub fn yield_now<S: System>() {
    // A thread that keeps the CPU does not give way. One that does not may see the count of a CPU that it is just being
    // taken from: then it has given way already.
    if S::Arch::preempt_count() > 0 {
        return;
    }
    cpu::mask_interrupts::<S>();
    give_way::<S>(Leaving::Yielded);
    cpu::unmask_interrupts::<S>();
    cpu::preempt_if_needed::<S>();
}

/// Gives way because the time slice is over or a thread of a higher priority has become ready.
///
/// Called with interrupts off, where a thread can be switched out: on its own stack.
pub fn preempt<S: System>() {
    let cpu = cpu::this::<S>();
    if core::ptr::eq(cpu::current::<S>(), cpu.idle()) || S::Arch::preempt_count() > 0 {
        // The idle thread looks into the run queue itself; one that keeps the CPU does not give way.
        cpu.need_resched.store(false, Ordering::Relaxed);
        return;
    }
    loop {
        if cpu::this::<S>().frames_came.load(Ordering::Relaxed) {
            step_aside::<S>();
        } else {
            give_way::<S>(Leaving::Preempted);
        }
        // Asked for again while the switch back here let interrupts in.
        if !cpu::this::<S>().need_resched.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Waits to be woken. May return though nobody woke the thread: the caller looks again.
pub(crate) fn block<S: System>() {
    audit::faults::deeply::<S>(block_here::<S>);
}

#[inline(always)]
fn block_here<S: System>() {
    let prev = cpu::current::<S>();
    cpu::without_interrupts::<S, _>(|| {
        let cpu = cpu::this::<S>();
        if S::Arch::preempt_count() > 0 {
            keeps_the_cpu();
        }
        if prev.state.begin_block() {
            audit::race::<S>();
            switch_to::<S>(cpu, prev, take_next(cpu), Leaving::Blocked);
        }
    });
    cpu::preempt_if_needed::<S>();
}

/// Leaves a CPU that the thread may no longer run on for one that it may.
pub(crate) fn move_on<S: System>() {
    let prev = cpu::current::<S>();
    cpu::without_interrupts::<S, _>(|| {
        let cpu = cpu::this::<S>();
        if S::Arch::preempt_count() > 0 {
            keeps_the_cpu();
        }
        switch_to::<S>(cpu, prev, take_next(cpu), Leaving::Moved);
    });
    cpu::preempt_if_needed::<S>();
}

/// A panic's report, for one, keeps the CPU: waiting there would let the run go on.
#[cold]
fn keeps_the_cpu() -> ! {
    panic!("a thread cannot wait while it keeps the CPU")
}

/// Leaves the CPU for good.
pub(crate) fn exit<S: System>() -> ! {
    cpu::mask_interrupts::<S>();
    let cpu = cpu::this::<S>();
    let prev = cpu::current::<S>();
    prev.state.exit();
    switch_to::<S>(cpu, prev, take_next(cpu), Leaving::Exited);
    unreachable!("a thread that has ended was switched to");
}

/// Wakes a thread: it becomes ready, or its next attempt to block fails.
pub(crate) fn wake<S: System>(thread: &'static Thread) {
    if is_owned_by_waking::<S>(thread) {
        make_ready::<S>(thread);
    }
}

/// Leaves a thread the token of a wake-up. Returns whether the caller now owns it and must enqueue it.
#[inline(always)]
fn is_owned_by_waking<S: System>(thread: &Thread) -> bool {
    if S::Policy::SWEEPS { thread.state.wake_from_any_sleep() } else { thread.state.wake() }
}

/// Wakes a thread that a handle keeps alive. It may have ended: then nothing happens.
pub(crate) fn wake_handle<S: System>(thread: &Arc<Thread>) {
    if is_owned_by_waking::<S>(thread) {
        // A thread that is blocked has not ended, and from now on this CPU owns it.
        make_ready::<S>(super::thread::from_handle(thread));
    }
}

/// Puts a thread that the caller owns where it runs, and gives way if that is here and it is more urgent.
pub(crate) fn make_ready<S: System>(thread: &'static Thread) {
    cpu::without_interrupts::<S, _>(|| placement::place::<S>(cpu::this::<S>(), thread));
    cpu::preempt_if_needed::<S>();
}

/// Puts a thread that is ready into this CPU's run queue, and asks for a switch if it is more urgent than the one that
/// runs. Interrupts are off.
#[inline]
pub(crate) fn enqueue<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    if thread.priority() > cpu::current::<S>().priority() {
        cpu.need_resched.store(true, Ordering::Relaxed);
    }
    queue::<S>(cpu, thread);
}

/// Puts a thread that is ready into this CPU's run queue. Interrupts are off.
#[inline]
fn queue<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    cpu.with_run_queue(|queue| queue.push(thread));
    begin_slice_if_none::<S>(cpu);
}

/// Another thread waits, in the run queue or for frames, so who runs has a time slice. Interrupts are off.
#[inline]
pub(crate) fn begin_slice_if_none<S: System>(cpu: &PerCpu) {
    // A slice that runs goes on: a voluntary switch does not arm the timer anew.
    if cpu.slice_end.load(Ordering::Relaxed) == 0 {
        first_slice::<S>(cpu);
    }
}

/// Begins a time slice because a thread is ready that was not; the idle thread has none to end.
#[cold]
fn first_slice<S: System>(cpu: &PerCpu) {
    if cpu.is_busy() {
        begin_slice::<S>(cpu, S::Platform::now());
    }
}

/// Begins a time slice: another thread is ready. Interrupts are off.
pub(super) fn begin_slice<S: System>(cpu: &PerCpu, now: u64) {
    let end = now + SLICE_NS;
    cpu.slice_end.store(end, Ordering::Relaxed);
    arm_for::<S>(cpu, end);
}

/// Says whether another thread waits for the CPU, or for frames. Interrupts are off.
pub(super) fn others_wait<S: System>(cpu: &PerCpu) -> bool {
    !cpu.with_run_queue(|queue| queue.is_empty()) || stack_wait::is_waited_for::<S>()
}

/// Makes the timer interrupt come at `deadline` at the latest. Interrupts are off.
pub(crate) fn arm_for<S: System>(cpu: &PerCpu, deadline: u64) {
    let armed = cpu.timer_deadline.load(Ordering::Relaxed);
    if armed == 0 || deadline < armed {
        cpu.timer_deadline.store(deadline, Ordering::Relaxed);
        S::Platform::arm_timer(Some(deadline));
    }
}

/// The timer interrupt: wakes whose time has come, ends the time slice if it is over, and arms the timer for what comes
/// next. It may come early, or for nothing. Interrupts are off.
pub fn timer_interrupt<S: System>() {
    let cpu = cpu::this::<S>();
    let now = S::Platform::now();
    cpu.timer_deadline.store(0, Ordering::Relaxed);
    let next_deadline = timers::wake_expired::<S>(cpu, now);
    match cpu.slice_end.load(Ordering::Relaxed) {
        0 => {}
        end if now < end => arm_for::<S>(cpu, end),
        _ if !others_wait::<S>(cpu) => cpu.slice_end.store(0, Ordering::Relaxed),
        _ => {
            cpu.need_resched.store(true, Ordering::Relaxed);
            begin_slice::<S>(cpu, now);
            placement::offer::<S>(cpu);
        }
    }
    if let Some(deadline) = next_deadline {
        arm_for::<S>(cpu, deadline);
    }
}

/// Leaves the boot stack for good and runs `first`. Interrupts are off.
pub(crate) fn first<S: System>(cpu: &PerCpu, first: &'static Thread) -> ! {
    // SAFETY: the thread is new, and nobody else knows it.
    let stack = unsafe { first.stack_mut() };
    if !is_ready::<S>(cpu, stack)
        && let Err(need) = reserve::<S>(cpu, stack)
    {
        report::out_of_stack_memory::<S>(first, need);
    }
    if S::Policy::SWEEPS {
        reclaimer::make_whole::<S>(cpu, stack);
    }
    first_half::<S>(cpu, stack);
    // SAFETY: the boot stack is in use, and the thread is new and populated.
    unsafe { S::Arch::switch_first(first) }
}

/// Gives way to a thread of the current one's priority or a higher one. Interrupts are off.
#[inline(always)]
fn give_way<S: System>(leaving: Leaving) {
    let cpu = cpu::this::<S>();
    let prev = cpu::current::<S>();
    cpu.need_resched.store(false, Ordering::Relaxed);
    if let Some(next) = cpu.with_run_queue(|queue| queue.pop_at_least(prev.priority())) {
        switch_to::<S>(cpu, prev, next, leaving);
    } else if stack_wait::is_waited_for::<S>() {
        give_way_to_parked::<S>(leaving);
    } else if leaving == Leaving::Yielded {
        // Who yields in a loop waits for another CPU. Who was to be preempted does not, and loses nothing to it.
        S::Arch::relax();
    }
}

/// Gives way to a thread that would be ready if this one gave up what it does not need. Interrupts are off.
#[cold]
#[inline(never)]
fn give_way_to_parked<S: System>(leaving: Leaving) {
    if stack_wait::is_waited_for_at_least::<S>(cpu::current::<S>().priority()) {
        call_daemon::<S>(leaving);
    }
}

/// Lets the idle thread hand frames to those who wait for some. Interrupts are off.
#[cold]
#[inline(never)]
fn call_daemon<S: System>(leaving: Leaving) {
    let cpu = cpu::this::<S>();
    cpu.need_resched.store(false, Ordering::Relaxed);
    switch_to::<S>(cpu, cpu::current::<S>(), cpu.idle(), leaving);
}

/// The same, without giving up anything: every page of the running thread's stack stays populated meanwhile.
#[cold]
#[inline(never)]
fn step_aside<S: System>() {
    let me = cpu::current::<S>();
    // SAFETY: this thread runs, so it holds itself.
    let was_pinned = unsafe { me.stack_mut() }.pin(true);
    call_daemon::<S>(Leaving::Preempted);
    // SAFETY: as above; it runs again.
    unsafe { me.stack_mut() }.pin(was_pinned);
}

/// The next thread to run: the first one that is ready, else idle.
pub(super) fn take_next(cpu: &PerCpu) -> &'static Thread {
    cpu.need_resched.store(false, Ordering::Relaxed);
    cpu.with_run_queue(|queue| queue.pop()).unwrap_or_else(|| cpu.idle())
}

/// Switches from `prev`, which runs, to `next`, which this CPU has taken, or to another thread if there are no frames for
/// that one. Interrupts are off, and off again when `prev` goes on: then another thread has been left for it, and is handed
/// on, or none could be switched to.
#[inline(always)]
pub(super) fn switch_to<S: System>(cpu: &PerCpu, prev: &'static Thread, next: &'static Thread, leaving: Leaving) {
    debug_assert!(!S::Arch::interrupts_enabled(), "a switch needs interrupts off");
    debug_assert_eq!(S::Arch::preempt_count(), 0, "a switch with preemption off");
    // SAFETY: this CPU took `next` off its queue, or it is this CPU's idle thread: nobody else holds it.
    let stack = unsafe { next.stack_mut() };
    if is_ready::<S>(cpu, stack) {
        switch_now::<S>(cpu, prev, next, stack, leaving);
    } else {
        switch_if_possible::<S>(prev, next, cpu, leaving);
    }
}

/// The same where the reserve is short, or the ring is full, or next lacks pages. The arguments come in the order in which the switch
/// itself takes them: no register is moved for a call that is not made.
#[cold]
#[inline(never)]
fn switch_if_possible<S: System>(prev: &'static Thread, next: &'static Thread, cpu: &PerCpu, leaving: Leaving) {
    if let Some(next) = one_that_can::<S>(cpu, prev, next, leaving) {
        // SAFETY: this CPU took it off its queue, or it is this CPU's idle thread: nobody else holds it.
        let stack = unsafe { next.stack_mut() };
        if S::Policy::SWEEPS {
            reclaimer::make_whole::<S>(cpu, stack);
        }
        switch_now::<S>(cpu, prev, next, stack, leaving);
    }
}

/// Switches from `prev` to `next`, for whose `stack` everything is in reserve.
#[inline(always)]
fn switch_now<S: System>(
    cpu: &PerCpu,
    prev: &'static Thread,
    next: &'static Thread,
    stack: &mut Stack,
    leaving: Leaving,
) {
    first_half::<S>(cpu, stack);
    departure::prepare::<S>(cpu, prev, leaving);
    // SAFETY: interrupts are off, `prev` runs here, `next` is ours and populated; it is not `prev`, which is in no
    // queue while it runs.
    let (left, leaving) = unsafe { S::Arch::switch(prev, next, leaving) };
    second_half::<S>(left, leaving);
}

/// The first half of the switch: prepares the stack of a thread that this CPU has taken. Interrupts are off.
#[inline(always)]
fn first_half<S: System>(cpu: &PerCpu, next: &mut Stack) {
    cpu.with_stack_cache(|cache| {
        S::Policy::before_switch_in(&mut Incoming::<S>::new(next, cache));
        cache.counters.switches += 1;
    });
}

/// The second half of the switch, on next's stack, with interrupts off: takes what `left` does not need, and then
/// hands it on.
#[inline(always)]
pub(crate) fn second_half<S: System>(left: &'static Thread, leaving: Leaving) {
    // Another CPU than the one on which the caller was left, perhaps.
    let cpu = cpu::this::<S>();
    if leaving != Leaving::Exited {
        // SAFETY: the thread has been left and not yet handed on, so this CPU holds it.
        let stack = unsafe { left.stack_mut() };
        cpu.with_stack_cache(|cache| {
            let mut prev = Outgoing::<S>::new(stack, left.saved_stack_pointer(), cache);
            S::Policy::after_switch_out(&mut prev, leaving);
        });
    }
    audit::departed::<S>(cpu, left, leaving);
    audit::switch::<S>(cpu, left, leaving);
    match leaving {
        // Whoever runs now was taken before it, so no other thread has become more urgent.
        Leaving::Yielded => queue::<S>(cpu, left),
        Leaving::Preempted if !S::Policy::SWEEPS => queue::<S>(cpu, left),
        _ => hand_on::<S>(cpu, left, leaving),
    }
}

/// Hands on a thread that does not stay ready by itself.
fn hand_on<S: System>(cpu: &PerCpu, left: &'static Thread, leaving: Leaving) {
    match leaving {
        Leaving::Blocked if left.state.finish_block() => reclaimer::one_sleeps::<S>(cpu, left),
        // The reclaimer comes without being asked for, and is not to cost anybody its turn.
        Leaving::Preempted if S::Policy::SWEEPS && reclaimer::is_running::<S>(cpu) => {
            cpu.with_run_queue(|queue| queue.push_first(left));
        }
        Leaving::Blocked | Leaving::Yielded | Leaving::Preempted => placement::place::<S>(cpu, left),
        Leaving::Moved => placement::place::<S>(cpu, left),
        Leaving::Parked => stack_wait::park::<S>(cpu, left),
        Leaving::Exited => {
            cpu.push_ended(left);
            // Its stack's, when it is reaped.
            stack_wait::frames_came::<S>();
        }
        Leaving::Idle => {}
    }
}
