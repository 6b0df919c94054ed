//! On which CPU a thread runs that has become ready.
//!
//! Here, unless another CPU that it may run on has nothing to do, or it may not run here. A CPU touches no run queue but its
//! own: a thread changes CPUs through an [inbox](super::inbox), pushed by the CPU that holds it. So no CPU steals; one that
//! goes idle asks those where a thread waits for its turn, and they push.
//!
//! ```text
//!  becomes ready    an idle CPU?          ──► its bit is claimed, the thread pushed, the CPU interrupted
//!                   may not run here?     ──► pushed to one that it may run on
//!                   else                  ──► this CPU's run queue
//!  goes idle        sets its bit; looks at its inbox once more; asks the CPUs where a time slice runs to offer what waits
//!  a slice ends     a thread waits, and another CPU is idle ──► pushed
//! ```
//!
//! Priorities hold on each CPU: a thread runs there only while none of a higher one is ready there.
//!
//! **That nothing can happen any more** is said by the last CPU that goes idle ([`Placement::is_quiet`]): all the others are
//! idle too, nothing is on the way to them, and none has stirred while that was looked at.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::Cpu;
use crate::audit;
use crate::cpu::{PerCpu, from_pointer};
use crate::platform::{Ipi, Platform};
use crate::system::System;
use crate::thread::{CpuSet, Thread, schedule};

/// Some thread may not run on all CPUs.
const RESTRICTED: u32 = 1 << 31;

/// Which CPUs have nothing to do.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The idle CPUs, a bit each, and [`RESTRICTED`]: while this is 0, whatever becomes ready runs where it does.
    elsewhere: AtomicU32,
    /// The CPUs, a bit each, that have begun to watch and in whose sight none has stirred since.
    undisturbed: AtomicU32,
}

impl Placement {
    pub const fn new() -> Self {
        Self { elsewhere: AtomicU32::new(0), undisturbed: AtomicU32::new(0) }
    }

    /// From now on a thread may have to be placed elsewhere.
    pub fn note_affinity(&self, cpus: CpuSet) {
        if cpus != CpuSet::ALL {
            self.elsewhere.fetch_or(RESTRICTED, Ordering::Relaxed);
        }
    }

    /// The CPUs that are idle.
    fn idle(&self) -> CpuSet {
        CpuSet::from_bits(self.elsewhere.load(Ordering::SeqCst))
    }

    /// Makes an idle CPU one that has something to do. Returns whether this call did.
    fn claim(&self, number: u32) -> bool {
        let bit = CpuSet::only(number).bits();
        self.elsewhere.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// From now on `cpu` watches whether a CPU stirs. Returns whether it did so before, and none has since.
    pub fn watch(&self, cpu: &PerCpu) -> bool {
        let bit = CpuSet::only(cpu.number).bits();
        self.undisturbed.fetch_or(bit, Ordering::SeqCst) & bit != 0
    }

    /// Says whether none has stirred since `cpu` watches: then what it looked at meanwhile holds together.
    pub fn is_undisturbed(&self, cpu: &PerCpu) -> bool {
        CpuSet::from_bits(self.undisturbed.load(Ordering::SeqCst)).contains(cpu.number)
    }
}

/// Puts a thread that has become ready, and that the caller owns, where it runs. Interrupts are off.
#[inline]
pub(crate) fn place<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    if S::kernel().placement.elsewhere.load(Ordering::Relaxed) == 0 {
        schedule::enqueue::<S>(cpu, thread);
    } else {
        place_with_care::<S>(cpu, thread);
    }
}

#[cold]
#[inline(never)]
fn place_with_care<S: System>(cpu: &PerCpu, thread: &'static Thread) {
    let allowed = thread.affinity();
    let may_run_here = allowed.contains(cpu.number);
    // A CPU whose idle thread runs has something to do with the first one that it gets.
    let is_free = !cpu.is_busy() && cpu.with_run_queue(|queue| queue.is_empty());
    if may_run_here && is_free || !push_to_idle::<S>(cpu, thread) {
        match S::kernel().cpus().find(|other| allowed.contains(other.number)) {
            Some(other) if !may_run_here => push::<S>(other, thread),
            // An affinity always names a CPU that runs.
            _ => schedule::enqueue::<S>(cpu, thread),
        }
    }
}

/// Pushes a thread to an idle CPU that it may run on, if there is one. Returns whether there was. Not inlined: it is much code, for two
/// callers.
#[inline(never)]
fn push_to_idle<S: System>(cpu: &PerCpu, thread: &'static Thread) -> bool {
    let placement = &S::kernel().placement;
    audit::race::<S>();
    let idle = placement.idle().and(thread.affinity());
    let claim = |number| {
        audit::race::<S>();
        placement.claim(number)
    };
    let claimed = idle.iter().find(|number| *number != cpu.number && claim(*number));
    let other = claimed.and_then(|number| from_pointer(S::kernel().cpus[number as usize].load(Ordering::Acquire)));
    if let Some(other) = other {
        audit::race::<S>();
        push::<S>(other, thread);
    }
    other.is_some()
}

/// Makes another CPU run a thread.
fn push<S: System>(other: &PerCpu, thread: &'static Thread) {
    audit::race::<S>();
    let was_empty = other.inbox.put(thread);
    audit::race::<S>();
    if was_empty {
        S::Platform::send_ipi(other.number, Ipi::Reschedule);
        // Where CPUs take turns, as under QEMU's icount, the other one's begins now, and not when this one has used up its own.
        S::Arch::relax();
    }
}

/// Takes what other CPUs have made ready for this one. Interrupts are off.
pub(crate) fn take_inbox<S: System>(cpu: &PerCpu) {
    audit::race::<S>();
    if !cpu.inbox.is_empty() {
        stir::<S>(cpu);
        audit::race::<S>();
        cpu.inbox.take(|thread| schedule::enqueue::<S>(cpu, thread));
    }
}

/// Pushes threads that wait for their turn here to CPUs that are idle. Interrupts are off.
pub(crate) fn offer<S: System>(cpu: &PerCpu) {
    let idle = || S::kernel().placement.idle();
    while cpu.is_busy() && !idle().is_empty() {
        let waits = |thread: &Thread| !idle().and(thread.affinity()).is_empty();
        let Some(thread) = cpu.with_run_queue(|queue| queue.pop_that(waits)) else { return };
        if !push_to_idle::<S>(cpu, thread) {
            return schedule::enqueue::<S>(cpu, thread);
        }
    }
}

/// This CPU has nothing to do, and says so. Interrupts are off; what was pushed before is in the inbox.
pub(crate) fn go_idle<S: System>(cpu: &PerCpu) {
    audit::race::<S>();
    S::kernel().placement.elsewhere.fetch_or(CpuSet::only(cpu.number).bits(), Ordering::SeqCst);
}

/// Asks the CPUs where a thread may wait for its turn to offer it. Interrupts are off, and this CPU is idle.
pub(crate) fn ask_for_work<S: System>(cpu: &PerCpu) {
    let others = S::kernel().cpus().filter(|other| !core::ptr::eq(*other, cpu));
    audit::race::<S>();
    for other in others.filter(|other| other.slice_end.load(Ordering::Relaxed) != 0) {
        S::Platform::send_ipi(other.number, Ipi::Reschedule);
    }
}

/// This CPU may have something to do. Interrupts are off. Called before that can be seen to be gone from where it was.
pub(crate) fn stir<S: System>(cpu: &PerCpu) {
    let placement = &S::kernel().placement;
    audit::race::<S>();
    if placement.idle().contains(cpu.number) {
        placement.claim(cpu.number);
    }
    audit::race::<S>();
    placement.undisturbed.store(0, Ordering::SeqCst);
}

/// Says whether all CPUs are idle, and nothing but a timer could change that; then also whether one is armed. Interrupts are
/// off, and this CPU [watches](Placement::watch): if one has stirred since, not all are idle.
pub(crate) fn is_quiet<S: System>(cpu: &PerCpu) -> Option<IsTimerArmed> {
    let placement = &S::kernel().placement;
    audit::race::<S>();
    let idle = placement.idle();
    let is_idle = |cpu: &PerCpu| {
        audit::race::<S>();
        idle.contains(cpu.number) && cpu.inbox.is_empty() && !cpu.frames_came.load(Ordering::SeqCst)
    };
    if !S::kernel().cpus().all(is_idle) {
        return None;
    }
    // Under the lock: a CPU stirs under it before it takes out those whose time has come.
    let is_armed = |cpu: &PerCpu| {
        audit::race::<S>();
        cpu.timers.locked::<S, _>(|timers| timers.next().is_some())
    };
    let is_timer_armed = S::kernel().cpus().any(is_armed);
    audit::race::<S>();
    placement.is_undisturbed(cpu).then_some(IsTimerArmed(is_timer_armed))
}

/// Says whether all CPUs but this one wait for something to do, and none is at the last resort.
pub(crate) fn others_are_idle<S: System>(cpu: &PerCpu) -> bool {
    let idle = S::kernel().placement.idle().with(cpu.number);
    S::kernel().cpus().all(|other| idle.contains(other.number)) && !S::kernel().stack_wait.is_at_last_resort()
}

/// Whether a thread waits for a point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsTimerArmed(pub bool);

/// Another CPU asks this one to look for what it has to do. Interrupts are off.
pub(crate) fn reschedule_interrupt<S: System>(cpu: &PerCpu) {
    audit::stand_still::<S>(cpu);
    take_inbox::<S>(cpu);
    if cpu.frames_came.load(Ordering::Relaxed) {
        cpu.need_resched.store(true, Ordering::Relaxed);
    }
    offer::<S>(cpu);
}
