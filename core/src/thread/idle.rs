//! The idle thread: what a CPU does that has nothing to do.

use core::sync::atomic::Ordering;

use crate::arch::Cpu;
use crate::cpu::{self, PerCpu};
use crate::platform::Platform;
use crate::stack::emergency::set_by;
use crate::stack::{self, Leaving};
use crate::system::System;
use crate::thread::schedule::{begin_slice, others_wait, switch_to};
use crate::thread::{placement, reap, stack_wait};
use crate::{audit, deadlock};

/// What an idle thread does, for ever: run others, and when there are none, free what rests and wait.
pub(crate) fn idle<S: System>() -> ! {
    cpu::unmask_interrupts::<S>();
    let cpu = cpu::this::<S>();
    let mut in_vain = deadlock::InVain::default();
    // Something has run here since the machine was last looked at as a whole.
    let mut is_news = true;
    loop {
        // First, since the stacks of the threads that have ended rest then.
        reap::<S>();
        cpu::without_preemption::<S, _>(|| {
            stack::free_resting::<S>(cpu);
            stack_wait::serve::<S>(cpu);
            stack::trim::<S>(cpu, S::kernel().stack_reserve());
            // To whoever waits for what was freed until now.
            cpu.given.store(cpu.given.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            if is_news && has_nothing_to_do::<S>(cpu) {
                is_news = false;
                set_by::<S>(cpu);
                // Before the machine is looked at: whoever waits for this has had time to come meanwhile.
                cpu.idle_passes.fetch_add(1, Ordering::Relaxed);
                audit::quiescent::<S>(cpu);
            }
        });
        cpu::mask_interrupts::<S>();
        if cpu.with_run_queue(|queue| queue.is_empty()) {
            wait_for_work::<S>(cpu, &mut in_vain);
            placement::stir::<S>(cpu);
        }
        placement::take_inbox::<S>(cpu);
        // The most urgent one is taken right here.
        cpu.need_resched.store(false, Ordering::Relaxed);
        if let Some(next) = cpu.with_run_queue(|queue| queue.pop()) {
            if others_wait::<S>(cpu) {
                begin_slice::<S>(cpu, S::Platform::now());
            }
            switch_to::<S>(cpu, cpu::current::<S>(), next, Leaving::Idle);
            is_news = true;
        }
        cpu::unmask_interrupts::<S>();
    }
}

/// Says that this CPU is idle, and waits until there is something to do. Interrupts are off. One that brings nothing, as when
/// another CPU looks at the whole machine, leaves this CPU idle in the eyes of all.
fn wait_for_work<S: System>(cpu: &PerCpu, in_vain: &mut deadlock::InVain) {
    // No slice ends where nothing runs.
    cpu.slice_end.store(0, Ordering::Relaxed);
    placement::go_idle::<S>(cpu);
    placement::ask_for_work::<S>(cpu);
    while has_nothing_to_do::<S>(cpu) {
        // Once more: interrupts may have been on meanwhile, for the last resort.
        if deadlock::is_there_hope::<S>(cpu, in_vain) && has_nothing_to_do::<S>(cpu) {
            cpu.halts.fetch_add(1, Ordering::Relaxed);
            audit::interrupts_on::<S>();
            S::Arch::wait_for_interrupt();
            audit::interrupts_off::<S>();
        }
        // What was done meanwhile, here or by a handler, may have woken a thread that another CPU runs, and that was work. With
        // one that is ready here this CPU must not pass for idle.
        if cpu.with_run_queue(|queue| queue.is_empty()) {
            placement::go_idle::<S>(cpu);
        }
    }
}

/// Says whether no thread is ready for this CPU, and no frames have come that others wait for.
fn has_nothing_to_do<S: System>(cpu: &PerCpu) -> bool {
    let no_thread = cpu::without_interrupts::<S, _>(|| cpu.with_run_queue(|queue| queue.is_empty()));
    audit::race::<S>();
    no_thread && cpu.inbox.is_empty() && !cpu.frames_came.load(Ordering::Relaxed)
}
