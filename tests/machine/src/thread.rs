//! What a thread of a test does with its stack, and with the machine.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::memory::frames::Refusal;
use ebbtide_core::stack::{CacheCounters, trim};
use ebbtide_core::thread::sleep as sleep_for;
use ebbtide_core::{System, VirtAddr, cpu, model};

use crate::baton::{pause, step, take_interrupts};
use crate::machine::current;
use crate::mmu::Use;

/// What a thread of a test leaves free below its stack pointer: a trap frame, `schedule()` and the switch.
const ROOM_FOR_CORE: u64 = crate::switch::PREEMPT_STACK_BYTES + 256;

/// Calls `f` with `bytes` more on the stack, rounded up to words. Every page that this covers is written, and holds what
/// was written when `f` comes back: live records survive, whatever happens meanwhile.
pub fn deeper<R>(bytes: u64, f: impl FnOnce() -> R) -> R {
    step();
    let machine = current();
    let context = machine.context();
    let old = context.stack_pointer.get();
    let new = old - bytes.next_multiple_of(8);
    context.stack_pointer.set(new);
    let words = words(new, old);
    for &word in &words {
        machine.store(word, canary(word, new, old), Use::Thread);
        step();
    }
    let result = f();
    step();
    let found = context.stack_pointer.get();
    machine.require(found == new, || format!("the stack pointer came back as {found:#x}, not {new:#x}"));
    for &word in &words {
        let found = machine.load(word, Use::Thread);
        machine.require(found == canary(word, new, old), || {
            format!("a live record at {word:#x} was overwritten with {found:#x}")
        });
    }
    context.stack_pointer.set(old);
    result
}

/// As [`deeper`], down to `left` bytes above the lowest address of the stack.
pub fn run_down<R>(left: u64, f: impl FnOnce() -> R) -> R {
    let context = current().context();
    let limit = current().lowest_unasked(&context);
    deeper(context.stack_pointer.get() - limit - left, f)
}

/// Bytes that the running thread may still go down, with room for a preemption and the switch.
pub fn room() -> u64 {
    let context = current().context();
    let limit = current().lowest_unasked(&context);
    (context.stack_pointer.get() - limit).saturating_sub(ROOM_FOR_CORE)
}

/// Says whether the running thread is on a temporary stack.
pub fn is_on_temporary() -> bool {
    current().context().is_on_temporary()
}

/// Lets the running thread do something that takes `count` steps.
pub fn work(count: u32) {
    for _ in 0..count {
        step();
    }
}

/// Goes to user mode, does `f` there, which touches no stack of the kernel's, and comes back.
pub fn in_user_mode<S: System>(f: impl FnOnce()) {
    let context = current().context();
    let stack_pointer = VirtAddr::new(context.stack_pointer.get());
    context.in_user_mode.set(Some(stack_pointer.as_u64()));
    model::leave_kernel::<S>(stack_pointer);
    f();
    model::enter_kernel::<S>();
    context.in_user_mode.set(None);
    // The entry has populated all that a system call may touch.
    deeper(room(), || ());
}

/// The words of a record at which it is looked: the first and the last one on each page, from the highest down.
fn words(from: u64, to: u64) -> Vec<u64> {
    let mut words = Vec::new();
    let mut end = to;
    while from < end {
        let start = ((end - 1) & !(PAGE_BYTES - 1)).max(from);
        words.push(end - 8);
        words.push(start);
        end = start;
    }
    words
}

fn canary(word: u64, from: u64, to: u64) -> u64 {
    word.rotate_left(17) ^ from ^ to.rotate_right(9)
}

/// Waits until every other CPU waits for an interrupt, and holds what frames there are against what uses them.
pub fn settle<S: System>() {
    let machine = current();
    // This thread keeps its CPU meanwhile, and that answers others that wait for it.
    cpu::without_preemption::<S, _>(|| {
        let here = machine.cpu().number;
        machine.quiet.set(true);
        while machine.cpus.iter().any(|cpu| cpu.number != here && !cpu.is_idle(machine.now.get())) {
            pause();
            take_interrupts();
        }
        machine.frozen.set(true);
        machine.check_frames::<S>();
        machine.frozen.set(false);
        machine.quiet.set(false);
    });
}

/// Sleeps for `ns` nanoseconds.
pub fn sleep<S: System>(ns: u64) {
    sleep_for::<S>(Duration::from_nanos(ns));
}

/// How often the entry of a page has changed, and how often a page was invalidated on a CPU, since the machine began.
pub fn counts() -> (u64, u64) {
    let machine = current();
    machine.observe_all();
    let checks = machine.checks.borrow();
    (checks.pages.changes, checks.pages.invalidations)
}

/// Number of pages that rest, of all stacks.
pub fn resting_pages() -> usize {
    let machine = current();
    machine.observe_all();
    machine.checks.borrow().pages.resting()
}

/// From now on the calls of the frame allocator that `refusal` means find no frame. Returns how many calls there were
/// since this was set last.
pub fn refuse<S: System>(refusal: Refusal) -> u64 {
    S::kernel().frames.with::<S, _>(|frames| frames.refuse(refusal))
}

/// What happened to the stack cache of the CPU that the caller runs on.
pub fn cache_counters<S: System>() -> CacheCounters {
    cpu::without_interrupts::<S, _>(|| cpu::this::<S>().cache_counters())
}

/// Empties the stack cache of the CPU that the caller runs on.
pub fn empty_cache<S: System>() {
    cpu::without_preemption::<S, _>(|| trim::<S>(cpu::this::<S>(), 0));
}

/// The number of the CPU that the caller runs on right now.
pub fn cpu_number() -> usize {
    current().cpu().number
}

/// Faults whose handler had to note that a page was accessed, on all CPUs.
pub fn access_faults() -> u64 {
    current().cpus.iter().map(|cpu| cpu.per_cpu.access_faults.load(Ordering::Relaxed)).sum()
}

/// Faults on stack pages that were populated when core looked, on all CPUs.
pub fn spurious_faults() -> u64 {
    current().cpus.iter().map(|cpu| cpu.per_cpu.spurious_faults.load(Ordering::Relaxed)).sum()
}
