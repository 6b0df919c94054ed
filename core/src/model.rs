//! What an exhaustive model of the kernel (`tests/model`) reaches into core for: it builds threads and CPUs of its own, runs
//! the real scheduler on them, and looks at what is where. Part of no contract.
#![expect(unsafe_code, reason = "a model builds threads by hand")]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::Cpu;
use crate::cpu::{self, PerCpu};
use crate::kernel::Kernel;
use crate::memory::frames::Refusal;
use crate::report::Place;
use crate::stack::{self, CacheCounters, NewStack, NoFrame, SizeClass, Slot, Stack, StackPolicy, growth};
use crate::sync::atomic::AtomicU64;
use crate::system::System;
use crate::thread::state::Sweep;
use crate::thread::thread::leak;
use crate::thread::{self, Kind, Leaving, Priority, Thread, ThreadHandle, ThreadId, border, placement, reclaimer};

/// What a model's thread is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The thread's number.
    pub number: u64,
    /// Its priority.
    pub priority: Priority,
    /// Bytes of stack.
    pub stack_bytes: u64,
    /// The leaf entry of its stack's top page; below it are those of the whole slot.
    pub top_entry: NonNull<AtomicU64>,
    /// One of the kernel's own, as idle threads are, whose stack is always populated.
    pub is_system: bool,
}

/// Makes a thread, whose stack is populated as the policy starts one.
///
/// # Errors
///
/// There is no frame.
///
/// # Panics
///
/// No stack is so large.
///
/// # Safety
///
/// The entries are the model's own and stay; the number was not used before for a stack of this size.
pub unsafe fn new_thread<S: System>(
    parts: Parts,
    populate: fn(&mut Stack, usize) -> Result<(), NoFrame>,
) -> Result<&'static Thread, NoFrame> {
    let class = SizeClass::for_stack(parts.stack_bytes, S::Policy::GUARD).expect("a stack of this size");
    // SAFETY: the caller's promise.
    let mut stack = unsafe { Stack::new(Slot { class, number: parts.number }, S::Policy::GUARD, parts.top_entry, 0) };
    stack.begin(parts.is_system);
    let mut new = NewStack::new(&mut stack, false, populate);
    if parts.is_system { new.populate_all() } else { S::Policy::on_spawn(&mut new) }?;
    if S::Policy::SWEEPS {
        stack.set_lacking(stack.absent() > 0);
    }
    S::kernel().note_reserve(&stack);
    let kind = if parts.is_system { Kind::System } else { Kind::App };
    let mut thread = Thread::new(ThreadId(parts.number), None, kind, parts.priority, stack);
    thread.deepest.begin::<S>();
    Ok(leak(Arc::new(thread)))
}

/// Populates the first `pages` of a stack with frames of the allocator.
///
/// # Errors
///
/// There is no frame.
pub fn populate<S: System>(stack: &mut Stack, pages: usize) -> Result<(), NoFrame> {
    let frame = || S::kernel().frames.with::<S, _>(|frames| frames.allocate());
    stack.populate::<S::Arch, S::Policy>(pages, frame).map(|_| ())
}

/// Makes a CPU one of the kernel's, with its idle thread running.
pub fn start_cpu(kernel: &Kernel, cpu: &'static PerCpu, idle: &'static Thread) {
    let this = core::ptr::from_ref(cpu).cast_mut();
    cpu.head.cpu.store(this, Ordering::Relaxed);
    kernel.cpus[cpu.number as usize].store(this, Ordering::Release);
    cpu.set_idle(idle);
    cpu.current.store(core::ptr::from_ref(idle).cast_mut(), Ordering::Relaxed);
}

/// Puts a thread that nobody knows into a CPU's run queue.
pub fn make_ready(cpu: &PerCpu, thread: &'static Thread) {
    cpu.with_run_queue(|queue| queue.push(thread));
}

/// What an idle thread does.
pub fn idle<S: System>() -> ! {
    thread::idle::<S>()
}

/// How a thread begins, for which another one was left.
pub fn begin<S: System>(left: &'static Thread, leaving: Leaving) {
    thread::begin::<S>(Some(left), leaving);
}

/// How a thread ends.
pub fn end<S: System>() -> ! {
    thread::end::<S>()
}

/// Makes one of the kernel's own threads the reclaimer.
pub fn make_reclaimer(kernel: &Kernel, thread: &'static Thread) {
    kernel.reclaimer.set_thread(thread);
}

/// What the reclaimer does between two of its sleeps, with a sweep of these threads; and `then`, behind the sweep, with the number of
/// those from which it took pages.
pub fn reclaim<S: System>(threads: &[&'static Thread], then: impl FnOnce(usize)) {
    reclaimer::reclaim_once::<S>(|| {
        let (marked, swept) = sweep::<S>(threads, false);
        then(swept);
        marked
    });
}

/// A sweep of these threads, and the freeing of what that took. Returns how many it has marked, and from how many it took.
pub fn sweep<S: System>(threads: &[&'static Thread], pressure: bool) -> (usize, usize) {
    cpu::without_preemption::<S, _>(|| {
        let cpu = cpu::this::<S>();
        let (mut marked, mut swept) = (0, 0);
        for thread in threads {
            match reclaimer::look::<S>(cpu, thread, pressure) {
                Sweep::Mark => marked += 1,
                Sweep::Reclaim => swept += 1,
                Sweep::Pass => {}
            }
        }
        if swept > 0 {
            stack::free_resting::<S>(cpu);
        }
        (marked, swept)
    })
}

/// The running thread touches the page of its stack that holds `address`, and that is absent.
pub fn stack_fault<S: System>(address: VirtAddr) {
    let enabled = S::Arch::disable_interrupts();
    let thread = cpu::current::<S>();
    let slot = Slot::of(address).expect("an address of a stack");
    let nowhere = VirtAddr::new(0);
    let place = Place { address, instruction: nowhere, stack_pointer: address, frame_pointer: nowhere };
    growth::grow_of::<S>(thread, slot, &place);
    if enabled {
        S::Arch::enable_interrupts();
    }
}

/// The running thread, whose stack pointer this is, goes to user mode.
pub fn leave_kernel<S: System>(stack_pointer: VirtAddr) {
    cpu::mask_interrupts::<S>();
    border::leave::<S>(stack_pointer);
    cpu::unmask_interrupts::<S>();
}

/// The running thread comes back from there.
pub fn enter_kernel<S: System>() {
    cpu::mask_interrupts::<S>();
    border::enter::<S>();
    cpu::unmask_interrupts::<S>();
}

/// A handle to a thread.
pub fn handle<S: System>(thread: &'static Thread) -> ThreadHandle<S> {
    ThreadHandle::new(thread::share(thread))
}

/// Says whether all CPUs but this one wait for something to do.
pub fn others_are_idle<S: System>() -> bool {
    placement::others_are_idle::<S>(S::Arch::per_cpu())
}

/// Says whether a CPU is at the last resort of those who wait for frames.
pub fn is_at_last_resort(kernel: &Kernel) -> bool {
    kernel.stack_wait.is_at_last_resort()
}

/// Says whether a thread waits for frames, and none for a point in time. No CPU holds the timers.
pub fn is_only_waited_for_frames<S: System>() -> bool {
    let kernel = S::kernel();
    let none_armed = |cpu: &PerCpu| cpu.timers.locked::<S, _>(|timers| timers.next().is_none());
    kernel.stack_wait.parked() > 0 && kernel.cpus().all(none_armed)
}

/// Runs `f` on the threads in a CPU's run queue.
pub fn for_each_ready(cpu: &PerCpu, f: impl FnMut(&'static Thread)) {
    cpu.with_run_queue(|queue| queue.iter().for_each(f));
}

/// Runs `f` on the threads in a CPU's inbox.
pub fn for_each_pushed(cpu: &PerCpu, f: impl FnMut(&'static Thread)) {
    cpu.inbox.iter().for_each(f);
}

/// Runs `f` on the threads that wait for frames, unless a CPU holds their queue.
pub fn for_each_parked<S: System>(mut f: impl FnMut(&'static Thread)) {
    let _unless_held = S::kernel().stack_wait.look::<S, _>(|queue| queue.iter().for_each(&mut f));
}

/// Runs `f` on the frames in a CPU's stack cache, and in what it keeps for faults.
pub fn for_each_cached(cpu: &PerCpu, f: impl FnMut(PhysAddr)) {
    cpu.with_stack_cache(|cache| cache.frames().chain(cpu.fault_reserve.frames()).for_each(f));
}

/// Runs `f` on the frames that are free.
pub fn for_each_free<S: System>(f: impl FnMut(PhysAddr)) {
    // Nobody holds the lock between two steps.
    S::kernel().frames.locked::<S, _>(|frames| frames.for_each_free(f));
}

/// Forgets what was only counted, so that two ways to the same state end in the same state.
pub fn forget_counts(cpu: &PerCpu) {
    cpu.with_stack_cache(|cache| cache.counters = CacheCounters::default());
    cpu.idle_passes.store(0, Ordering::Relaxed);
    cpu.halts.store(0, Ordering::Relaxed);
    cpu.given.store(0, Ordering::Relaxed);
    cpu.shootdown.forget_request();
}

/// Forgets where in a queue threads were that are in none now, and what queues remember of those. Does nothing while a CPU holds
/// the queue of those that wait for frames.
pub fn forget_links<S: System>(threads: &[&'static Thread]) {
    let kernel = S::kernel();
    let parked = kernel.stack_wait.look::<S, _>(|queue| {
        queue.forget_old();
        queue.iter().collect::<Vec<_>>()
    });
    let Some(mut linked) = parked else { return };
    for cpu in kernel.cpus() {
        linked.extend(cpu.inbox.iter().chain(cpu.ended()));
        cpu.with_run_queue(|queue| {
            queue.forget_old();
            linked.extend(queue.iter());
        });
    }
    for thread in threads {
        if !linked.iter().any(|one| core::ptr::eq(*one, *thread)) {
            thread.next.set(None);
        }
    }
}

/// Likewise of the frame allocator, which refuses nothing.
pub fn forget_calls<S: System>() {
    S::kernel().frames.locked::<S, _>(|frames| frames.refuse(Refusal::Never));
}

/// Likewise of a thread's stack.
pub fn forget_rests(thread: &'static Thread) {
    // SAFETY: the model is between two steps, and nobody else executes.
    unsafe { thread.stack_mut() }.forget_rests();
}

/// Says whether a thread has left its CPU and waits to be woken.
pub fn is_blocked(thread: &Thread) -> bool {
    thread.state.is_blocked()
}
