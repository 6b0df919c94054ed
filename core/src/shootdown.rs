//! Shootdowns: one CPU makes all others forget translations, where the hardware does not do that by itself.
//!
//! Each CPU has one request, which it fills in as the initiator, and a word of bits in which others say that theirs is to
//! be read. So initiators need no lock among each other, and two that wait for each other answer each other: an initiator
//! has interrupts on, preemption off, and holds no spin lock but perhaps the heap's, for which nobody waits with interrupts off
//! (Intel SDM volume 3, 4.10.5, leaves the rest to software).
//!
//! ```text
//!  initiator                                        each other CPU
//!  entries made absent; fence; who has joined?
//!  writes its request; waiting = those CPUs
//!  asked |= initiator there; interrupt, if it was 0 ──► takes all of asked; reads each initiator's request
//!  invalidates on its own CPU                           invalidates; waiting &= !itself
//!  waits until waiting is 0 ◄──────────────────────────┘
//! ```

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use memory_addresses::VirtAddr;

use crate::arch::{Cpu, Paging};
use crate::audit;
use crate::cpu::{self, PerCpu, from_pointer};
use crate::platform::{Ipi, Platform};
use crate::stop;
use crate::system::System;

/// Most pages that are invalidated one by one. With more, everything is: that costs a CPU less than so many single ones.
const MOST_PAGES: usize = 64;

/// A CPU's part in shootdowns.
#[derive(Debug)]
pub(crate) struct Shootdown {
    /// The CPUs, a bit each, whose request is to be carried out here.
    asked: AtomicU32,
    /// The CPUs, a bit each, that have not yet carried out this CPU's own request.
    waiting: AtomicU32,
    /// How many pages the request names; beyond [`MOST_PAGES`], everything is meant.
    count: AtomicUsize,
    pages: [AtomicU64; MOST_PAGES],
    /// How many shootdowns of stack pages this CPU has begun, and how many have ended with the pages' frames freed: also where the
    /// hardware carries them out. For who wants to know what a CPU met when it came up.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Shootdown {
    pub(crate) const fn new() -> Self {
        Self {
            asked: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            count: AtomicUsize::new(0),
            pages: [const { AtomicU64::new(0) }; MOST_PAGES],
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// How many this CPU has begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// One begins. Called by this CPU alone.
    pub fn begin(&self) {
        self.begun.store(self.begun() + 1, Ordering::Relaxed);
    }

    /// The one that has begun ends.
    pub fn end(&self) {
        self.ended.store(self.begun(), Ordering::Relaxed);
    }

    /// Forgets a request that was carried out, and what was counted.
    pub fn forget_request(&self) {
        self.begun.store(0, Ordering::Relaxed);
        self.ended.store(0, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.count.store(0, Ordering::Relaxed);
            self.pages.iter().for_each(|page| page.store(0, Ordering::Relaxed));
        }
    }

    /// Carries this request out on the CPU that executes it.
    fn carry_out<P: Paging>(&self) {
        // Ordered by `asked`.
        let count = self.count.load(Ordering::Relaxed);
        match self.pages.get(..count) {
            Some(pages) => {
                pages.iter().for_each(|page| P::invalidate_local(VirtAddr::new(page.load(Ordering::Relaxed))));
            }
            None => P::invalidate_all_local(),
        }
    }
}

/// Invalidates the translations of `pages` on every CPU, and returns when all have done so: what
/// [`Paging::invalidate_everywhere`] asks for. Interrupts are on, preemption is off, and no spin lock is held but perhaps the
/// heap's.
///
/// Compiled for each kind of iterator, so all that is not about the pages is in functions of their own.
pub fn invalidate_everywhere<S: System>(pages: impl Iterator<Item = VirtAddr>) {
    let me = cpu::this::<S>();
    let others = others_that_walk::<S>(me);
    let mut count = 0;
    pages.for_each(|page| {
        if others != 0
            && let Some(place) = me.shootdown.pages.get(count)
        {
            place.store(page.as_u64(), Ordering::Relaxed);
        }
        S::Arch::invalidate_local(page);
        count += 1;
    });
    if others != 0 && count > 0 {
        ask::<S>(me, others, count);
    }
}

/// The other CPUs, a bit each, that may know what entries said that are absent now.
#[inline(never)]
fn others_that_walk<S: System>(me: &PerCpu) -> u32 {
    // Whoever joins later finds the entries absent: see `secondary`.
    fence(Ordering::SeqCst);
    others::<S>(me).fold(0, |others, cpu| others | 1 << cpu.number)
}

fn others<S: System>(me: &PerCpu) -> impl Iterator<Item = &'static PerCpu> {
    S::kernel().cpus().filter(move |cpu| !core::ptr::eq(*cpu, me))
}

/// Asks the CPUs of `waiting` to carry out this CPU's request, which names `count` pages, and waits until they have.
#[inline(never)]
fn ask<S: System>(me: &PerCpu, waiting: u32, count: usize) {
    let request = &me.shootdown;
    request.count.store(count, Ordering::Relaxed);
    request.waiting.store(waiting, Ordering::Relaxed);
    // Not those that have joined since.
    for other in others::<S>(me).filter(|cpu| waiting & 1 << cpu.number != 0) {
        audit::race::<S>();
        let was_asked = other.shootdown.asked.fetch_or(1 << me.number, Ordering::AcqRel) != 0;
        audit::race::<S>();
        if !was_asked {
            S::Platform::send_ipi(other.number, Ipi::Shootdown);
        }
    }
    debug_assert!(S::Arch::interrupts_enabled(), "another CPU may wait for this one likewise");
    while request.waiting.load(Ordering::Acquire) != 0 {
        stop::stop_if_the_run_ends::<S>();
        S::Arch::relax();
    }
}

/// Carries out what others ask for. Called by the handler of their interrupt.
pub(crate) fn answer<S: System>(cpu: &PerCpu) {
    audit::race::<S>();
    let mut asked = cpu.shootdown.asked.swap(0, Ordering::AcqRel);
    while let Some(initiator) = asked.checked_ilog2() {
        asked &= !(1 << initiator);
        let initiator = from_pointer(S::kernel().cpus[initiator as usize].load(Ordering::Relaxed));
        let request = &initiator.expect("a CPU that asks has joined").shootdown;
        request.carry_out::<S::Arch>();
        audit::race::<S>();
        request.waiting.fetch_and(!(1 << cpu.number), Ordering::Release);
    }
}
