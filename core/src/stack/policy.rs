//! The contract of a stack policy: when a thread's stack gets its pages, and when they go.
//!
//! | event | called by | context | a wrong answer can |
//! |---|---|---|---|
//! | [`on_spawn`](StackPolicy::on_spawn) | `spawn` | thread, may fail | make spawn fail |
//! | [`frames_to_switch_in`](StackPolicy::frames_to_switch_in) | `schedule()` | interrupts off | keep the thread from running |
//! | [`before_switch_in`](StackPolicy::before_switch_in) | first half of the switch | interrupts off, on prev's stack | end the run with a message |
//! | [`before_switch`](StackPolicy::before_switch) | then, if there is a switch | interrupts off, on prev's stack | keep too much |
//! | [`on_sweep`](StackPolicy::on_sweep) | the reclaimer, which holds the thread | interrupts off | keep too much |
//! | [`make_whole`](StackPolicy::make_whole) | first half, if the thread was swept or is new | interrupts off, on prev's stack | end the run with a message |
//! | [`after_switch_out`](StackPolicy::after_switch_out) | second half | interrupts off, on next's stack | keep too much |
//! | [`on_stack_fault`](StackPolicy::on_stack_fault) | a fault on the running thread's stack | a trap stack, at any instruction | end the run with a report |
//! | [`on_ensure`](StackPolicy::on_ensure) | `stack::ensure` | thread, preemption off, may fail | make it fail, or end the run with a report |
//! | [`on_user_entry`](StackPolicy::on_user_entry) | entry from user mode | interrupts off, on the thread's own top page | end the run with a report |
//! | [`on_user_exit`](StackPolicy::on_user_exit) | exit to user mode | likewise | keep too much |
//!
//! A policy is safe code: it says what it wants through the handles below, and the mechanism checks that. It can
//! waste memory or stop the run, but never corrupt a stack. Every method has a default that does nothing, so a
//! policy's source shows just what makes it different; for an always-populated stack no policy is asked.

use memory_addresses::{PhysAddr, VirtAddr};

use crate::cpu;
use crate::stack::outside::OutsideStack;
use crate::stack::page::{NoFrame, Rested};
use crate::stack::ring::Ring;
use crate::stack::{FaultReserve, Guard, Stack, StackCache};
use crate::system::System;
use crate::thread::stack_wait;

/// How a thread leaves the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Leaving {
    /// It gave way and stays runnable.
    Yielded,
    /// It was made to give way and stays runnable.
    Preempted,
    /// It waits for something.
    Blocked,
    /// It may no longer run on this CPU, and stays runnable.
    Moved,
    /// It has entered the kernel from user mode and lacks frames for that.
    Parked,
    /// It ended.
    Exited,
    /// It is the idle thread, which is never queued.
    Idle,
}

/// A stack policy.
pub trait StackPolicy: 'static {
    /// The policy's name: its cargo feature.
    const NAME: &'static str;

    /// How much of a slot is guard, and is not the stack's.
    const GUARD: Guard = Guard::Half;

    /// Whether [`StackPolicy::after_switch_out`] or [`StackPolicy::before_switch`] may let pages rest. `schedule()` then sees to
    /// it that the ring has room for a note; a policy that rests without having said so does not compile.
    const RESTS_AT_SWITCH: bool = false;

    /// Whether it is [`StackPolicy::before_switch`] that does so; no other policy is asked there.
    const RESTS_BEFORE_SWITCH: bool = false;

    /// Whether [`StackPolicy::frames_to_switch_in`] may ask for frames. A thread that lacks some is then
    /// [parked](crate::thread::StackWait), so a policy that asks without having said so does not compile.
    const ASKS_FOR_FRAMES: bool = false;

    /// Whether a [reclaimer](crate::thread::reclaimer) sweeps the stacks of threads that sleep. Only the switch to one that it swept, or
    /// to a new one, then asks how many frames that takes, so that every other switch has no more to do than to see that the thread is
    /// none of these.
    const SWEEPS: bool = false;

    /// Whether a thread's stack is wholly populated while it runs in the kernel.
    const RUNS_POPULATED: bool = true;

    /// Whether it asks which pages were accessed: [`Outgoing::rest_unaccessed`]. Pages of stacks are then populated as ones that
    /// were not, so walkers write their entries.
    const READS_ACCESSED_BITS: bool = false;

    /// How many pages a thread's stack has, at most, unless its code asks for more by `stack::ensure`. Only a policy that says so is
    /// asked by [`StackPolicy::on_ensure`]; where a stack ends for the code that runs is then where its populated pages do.
    const PAGES_UNASKED: usize = usize::MAX;

    /// Whether [`StackPolicy::on_user_entry`] and [`StackPolicy::on_user_exit`] do something. Entries and exits then see to it
    /// that the frames are reserved, and that the ring has room for a note; a policy that does something without having said so
    /// does not compile.
    const CHANGES_AT_ENTRY: bool = false;

    /// Whether a fault on a page that the running thread's stack lacks populates it, by [`StackPolicy::on_stack_fault`]. The policy
    /// then has to keep frames for that ([`Incoming::reserve_absent`]); no other policy is asked at a fault.
    const GROWS_ON_FAULT: bool = false;

    /// Populates what a new thread's stack starts with: the top page at least.
    ///
    /// # Errors
    ///
    /// There is no frame; the spawn fails.
    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame>;

    /// How many frames [`StackPolicy::before_switch_in`] may take, at most.
    fn frames_to_switch_in(next: &Stack) -> usize {
        let _ = next;
        0
    }

    /// Prepares the stack of the thread that runs next. Cannot fail, because the frames are reserved.
    fn before_switch_in<S: System>(next: &mut Incoming<'_, S>) {
        let _ = next;
    }

    /// Takes what it can from the stack of a thread that has slept for as long as between two sweeps, or for any time if frames are
    /// short. The reclaimer holds the thread meanwhile.
    fn on_sweep<S: System>(asleep: &mut Outgoing<'_, S>) {
        let _ = asleep;
    }

    /// Prepares the stack of a thread that was swept or is new, and runs next. Cannot fail, because what
    /// [`StackPolicy::frames_to_switch_in`] says is reserved.
    fn make_whole<S: System>(next: &mut Incoming<'_, S>) {
        let _ = next;
    }

    /// Takes what it can from the stack of a thread that is about to leave the CPU, and still runs on it: what lies below all
    /// that the switch can still reach. There is no way back: the next thread is ready. Not called for a thread that ends.
    fn before_switch<S: System>(prev: &mut Outgoing<'_, S>, leaving: Leaving) {
        let _ = (prev, leaving);
    }

    /// Takes what it can from the stack of a thread that has left the CPU.
    fn after_switch_out<S: System>(prev: &mut Outgoing<'_, S>, leaving: Leaving) {
        let _ = (prev, leaving);
    }

    /// Populates the running thread's stack where it was touched and has no page. Any lock may be held, and any code may have been
    /// interrupted. Cannot fail, because what [`StackPolicy::frames_to_switch_in`] says was reserved before the thread ran.
    fn on_stack_fault<S: System>(current: &mut Growing<'_, S>) {
        let _ = current;
    }

    /// Populates at least the first `pages` of the stack of the running thread, which asks for them: there are so many.
    ///
    /// # Errors
    ///
    /// There is no frame. It is asked again once what nobody uses has been brought together; if that does not help,
    /// `stack::ensure` fails.
    fn on_ensure(stack: &mut NewStack<'_>, pages: usize) -> Result<(), NoFrame> {
        let _ = (stack, pages);
        Ok(())
    }

    /// Prepares the stack of a thread that has entered the kernel from user mode, by a system call or by an exception that ends
    /// it; interrupts do not count. Cannot fail, because what [`StackPolicy::frames_to_switch_in`] says is reserved.
    fn on_user_entry<S: System>(current: &mut Incoming<'_, S>) {
        let _ = current;
    }

    /// Takes what it can from the stack of a thread that goes to user mode: what lies below all that the running code can still
    /// reach.
    fn on_user_exit<S: System>(current: &mut Outgoing<'_, S>) {
        let _ = current;
    }
}

/// The stack of a thread that is being spawned, or asks for more.
#[derive(Debug)]
pub struct NewStack<'a> {
    stack: &'a mut Stack,
    for_user_mode: bool,
    populate: fn(&mut Stack, usize) -> Result<(), NoFrame>,
}

impl<'a> NewStack<'a> {
    /// Says whether the thread is one that goes to user mode.
    pub fn is_for_user_mode(&self) -> bool {
        self.for_user_mode
    }

    pub(crate) fn new(
        stack: &'a mut Stack,
        for_user_mode: bool,
        populate: fn(&mut Stack, usize) -> Result<(), NoFrame>,
    ) -> Self {
        Self { stack, for_user_mode, populate }
    }

    /// Populates the top page.
    ///
    /// # Errors
    ///
    /// There is no frame.
    pub fn populate_top(&mut self) -> Result<(), NoFrame> {
        self.populate(1)
    }

    /// Populates the first `pages`, from the top page down; all, if there are no more.
    ///
    /// # Errors
    ///
    /// There is no frame; what was populated stays so.
    pub fn populate(&mut self, pages: usize) -> Result<(), NoFrame> {
        (self.populate)(self.stack, pages)
    }

    /// Populates every page.
    ///
    /// # Errors
    ///
    /// There is no frame.
    pub fn populate_all(&mut self) -> Result<(), NoFrame> {
        self.populate(self.stack.pages())
    }
}

/// The stack of the thread that runs next.
#[derive(Debug)]
pub struct Incoming<'a, S> {
    stack: &'a mut Stack,
    cache: &'a mut StackCache,
    system: core::marker::PhantomData<fn() -> S>,
}

impl<'a, S: System> Incoming<'a, S> {
    pub(crate) fn new(stack: &'a mut Stack, cache: &'a mut StackCache) -> Self {
        Self { stack, cache, system: core::marker::PhantomData }
    }

    /// Says whether the thread runs in user mode, or was preempted there.
    pub fn is_in_user_mode(&self) -> bool {
        self.stack.is_in_user_mode()
    }

    /// Populates every page: resting ones are taken back, the others take frames from the stack cache.
    ///
    /// # Panics
    ///
    /// The cache has too few frames: the policy's `frames_to_switch_in` promised too little.
    #[inline]
    pub fn populate_all(&mut self) {
        const { assert!(S::Policy::ASKS_FOR_FRAMES, "a policy that takes frames at a switch says so: ASKS_FOR_FRAMES") };
        let pages = self.stack.pages();
        if self.stack.populated() < pages {
            let cache = &mut *self.cache;
            let written = self.stack.populate::<S::Arch, S::Policy>(pages, || cache.take_for_switch());
            match written {
                Ok(entries) => cache.counters.pte_writes += entries as u64,
                Err(NoFrame) => too_few_frames::<S>(),
            }
        }
    }

    /// Takes back what rests right below the populated pages, as far as nobody has freed it. Takes no frame.
    ///
    /// For a stack that is then run on without being whole: what rested may be known to a CPU still, and would be used without a
    /// fault.
    #[inline]
    pub fn take_back_resting(&mut self) {
        const { assert!(S::Policy::CHANGES_AT_ENTRY, "a policy that changes stacks at entries says so: CHANGES_AT_ENTRY") };
        let before = self.stack.populated();
        self.stack.take_back_resting::<S::Arch, S::Policy>();
        self.cache.counters.pte_writes += (self.stack.populated() - before) as u64;
    }

    /// Keeps frames for the pages that are absent, where faults find them while the thread runs. Nothing is populated.
    ///
    /// # Panics
    ///
    /// The cache has too few frames: the policy's `frames_to_switch_in` promised too little.
    #[inline]
    pub fn reserve_absent(&mut self) {
        const {
            assert!(
                S::Policy::ASKS_FOR_FRAMES && S::Policy::GROWS_ON_FAULT,
                "a policy that keeps frames for faults says so: ASKS_FOR_FRAMES, GROWS_ON_FAULT"
            );
        };
        let (reserve, absent) = (&cpu::this::<S>().fault_reserve, self.stack.absent());
        // Who is left may fault meanwhile, once: then there is one frame too few of the one too many.
        while reserve.lacks(absent) > 0
            && let Some(frame) = self.cache.take_for_switch()
        {
            reserve.put(frame);
        }
        if reserve.len() < absent {
            too_few_frames::<S>();
        }
    }
}

/// The stack of the running thread, which was touched where it has no page.
#[derive(Debug)]
pub struct Growing<'a, S> {
    stack: &'a mut Stack,
    /// Pages from the top down to the one that was touched.
    pages: usize,
    reserve: &'a FaultReserve,
    system: core::marker::PhantomData<fn() -> S>,
}

impl<'a, S: System> Growing<'a, S> {
    pub(crate) fn new(stack: &'a mut Stack, pages: usize, reserve: &'a FaultReserve) -> Self {
        Self { stack, pages, reserve, system: core::marker::PhantomData }
    }

    /// Populates every page down to the one that was touched: resting ones are taken back, the others take frames from the reserve.
    pub fn populate_down_to_fault(&mut self) {
        const { assert!(S::Policy::GROWS_ON_FAULT, "a policy that grows stacks from faults says so: GROWS_ON_FAULT") };
        // How far it went is looked at by who asked.
        let _ = self.stack.populate::<S::Arch, S::Policy>(self.pages, || self.reserve.take());
    }
}

/// The stack of a thread that has left the CPU, with the stack pointer that it saved; of one that is about to leave it, or to go
/// to user mode, with the lowest address that is reached until then.
#[derive(Debug)]
pub struct Outgoing<'a, S> {
    stack: &'a mut Stack,
    saved_stack_pointer: VirtAddr,
    cache: &'a mut StackCache,
    system: core::marker::PhantomData<fn() -> S>,
}

impl<'a, S: System> Outgoing<'a, S> {
    pub(crate) fn new(stack: &'a mut Stack, saved_stack_pointer: VirtAddr, cache: &'a mut StackCache) -> Self {
        Self { stack, saved_stack_pointer, cache, system: core::marker::PhantomData }
    }

    /// Lets every page rest that lies wholly below the saved stack pointer.
    ///
    /// # Panics
    ///
    /// The saved stack pointer lies outside of the stack.
    #[inline]
    pub fn rest_below_saved_stack_pointer(&mut self) {
        self.rest(Stack::rest::<S::Arch, S::Policy>);
    }

    /// The same, but for the first `pages` of the stack, which stay.
    ///
    /// # Panics
    ///
    /// The saved stack pointer lies outside of the stack.
    #[inline]
    pub fn rest_beyond(&mut self, pages: usize) {
        self.rest(|stack, live, ring| stack.rest::<S::Arch, S::Policy>(live.max(pages), ring));
    }

    /// Lets pages rest that lie wholly below the saved stack pointer: from the lowest one up to the first that was accessed since it
    /// was populated, or since that was [forgotten](Self::forget_accesses).
    ///
    /// # Panics
    ///
    /// The saved stack pointer lies outside of the stack.
    #[inline]
    pub fn rest_unaccessed(&mut self) {
        const {
            assert!(S::Policy::READS_ACCESSED_BITS, "a policy that asks what was accessed says so: READS_ACCESSED_BITS")
        };
        self.rest(Stack::rest_unaccessed::<S::Arch>);
    }

    /// Forgets which pages wholly below the saved stack pointer were accessed, if it is time to: at every so many-th call for a thread,
    /// as the setting `ebbtide.accessed` says.
    ///
    /// # Panics
    ///
    /// The saved stack pointer lies outside of the stack.
    #[inline]
    pub fn forget_accesses(&mut self) {
        if !self.stack.is_pinned() && self.stack.is_time_to_forget(|| S::kernel().settings.accessed()) {
            match self.stack.live_pages(self.saved_stack_pointer) {
                Ok(live) => self.cache.counters.pte_writes += self.stack.forget_accesses::<S::Arch>(live) as u64,
                Err(outside) => outside_stack(outside),
            }
        }
    }

    /// Says whether a thread waits for frames: then what could stay otherwise should go.
    #[inline]
    pub fn frames_are_waited_for(&self) -> bool {
        stack_wait::is_waited_for::<S>()
    }

    /// Lets pages rest below the live ones.
    #[inline(always)]
    fn rest(&mut self, rest: impl FnOnce(&mut Stack, usize, &mut Ring) -> Rested) {
        if self.stack.is_pinned() {
            return;
        }
        const {
            assert!(
                S::Policy::RESTS_AT_SWITCH || S::Policy::CHANGES_AT_ENTRY || S::Policy::SWEEPS,
                "a policy that rests says where: RESTS_AT_SWITCH, CHANGES_AT_ENTRY, SWEEPS"
            );
        };
        match self.stack.live_pages(self.saved_stack_pointer) {
            Ok(live) => {
                let rested = rest(self.stack, live, &mut self.cache.ring);
                self.cache.counters.pages_rested += rested.pages as u64;
                self.cache.counters.pte_writes += rested.pages as u64;
                if rested.is_new {
                    stack_wait::pages_rest::<S>();
                }
            }
            Err(outside) => outside_stack(outside),
        }
    }
}

#[cold]
fn outside_stack(outside: OutsideStack) -> ! {
    panic!("{outside}")
}

#[cold]
fn too_few_frames<S: System>() -> ! {
    panic!("policy {} takes more frames at a switch than it asked for", S::Policy::NAME)
}

/// Populates `pages` of a stack with frames from the allocator.
pub(crate) fn populate_from_allocator<S: System>(stack: &mut Stack, pages: usize) -> Result<(), NoFrame> {
    stack.populate::<S::Arch, S::Policy>(pages, allocate::<S>).map(|_| ())
}

/// Frames that a new stack leaves free, beside what the switches may need: for the heap and the page tables, so that a
/// spawn that does not fit fails as a spawn.
const SPAWN_LEAVES: usize = 16;

fn allocate<S: System>() -> Option<PhysAddr> {
    let keep = S::kernel().last_frames() + SPAWN_LEAVES;
    S::kernel().frames.with::<S, _>(|frames| frames.allocate_above(keep))
}

const _: () = assert!(size_of::<Leaving>() == 8, "the switch passes it in a register");
