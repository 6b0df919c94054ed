//! How a model is made: RAM, threads and their entries, all of it memory that is saved and restored.
#![expect(unsafe_code, reason = "makes threads whose entries are the model's own")]

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::boot::MemoryRegion;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::memory::frames::Refusal;
use ebbtide_core::memory::window::Window;
use ebbtide_core::model::{self, Parts};
use ebbtide_core::thread::{Priority, Thread};
use ebbtide_core::{PhysAddr, StackPolicy, System, VirtAddr};

use super::{CURRENT, JudgeBox, World, current, interrupt};
use crate::books::{Books, MAX_CPUS, MAX_THREADS};
use crate::coroutine::Coroutine;
use crate::memory::Memory;
use crate::plan::{Plan, Program, STACK_BYTES, Walker};

impl World {
    /// Builds a model, which is there for good.
    pub fn new<S: System>(plan: Plan) -> &'static Self {
        let Plan { cpus, frames, ticks, reach, fill, walker, threads, mut memory, judge, refuses, .. } = plan;
        let all = threads.len() + cpus;
        assert!(cpus + usize::from(walker.is_some()) <= MAX_CPUS && all <= MAX_THREADS, "a small model");
        let books = memory.keep(Books::default());
        books.ticks.set(ticks);
        // A frame for each new thread's top page, and what the idle ones have.
        let total_frames = frames + threads.len() + 2 * cpus;
        let window = keep_ram(&mut memory, total_frames);
        let kernel = memory.keep(Kernel::begun(window));
        // A refill brings half of it.
        kernel.settings.read::<S::Policy>("ebbtide.cache=16", S::AUDIT).expect("a bound that the kernel takes");
        let per_cpu: Vec<_> = (0..cpus).map(|number| memory.keep(PerCpu::new(number as u32))).collect();
        for cpu in 0..cpus {
            books.cpus[cpu].joined.set(true);
            books.cpus[cpu].walks.set(true);
            books.cpus[cpu].runs.set((threads.len() + cpu) as u64);
        }
        if walker == Some(Walker::Early) {
            books.cpus[cpus].joined.set(true);
            books.cpus[cpus].walks.set(true);
        }
        let sizes: Vec<_> = threads.iter().map(|thread| thread.stack_bytes).chain(vec![STACK_BYTES; cpus]).collect();
        let entries: Vec<_> = sizes.iter().map(|bytes| keep_entries(&mut memory, *bytes)).collect();
        let pages = sizes.iter().map(|bytes| (bytes / PAGE_BYTES) as usize).collect();
        let mut world = Self {
            kernel,
            books,
            cpus: per_cpu,
            threads: Vec::new(),
            entries,
            pages,
            tops: Vec::new(),
            coroutines: Vec::new(),
            total_frames,
            reach,
            fill,
            walker,
            refuses: refuses.is_some(),
            rests_before_switch: S::Policy::RESTS_BEFORE_SWITCH,
            rests_at_switch: S::Policy::RESTS_AT_SWITCH,
            grows_on_fault: S::Policy::GROWS_ON_FAULT,
            reads_accessed_bits: S::Policy::READS_ACCESSED_BITS,
            between_cpus: plan.between_cpus,
            only_at_last_resort: plan.only_at_last_resort,
            idles_at_once: plan.idles_at_once || cpus > 2,
            interrupts_for_shootdowns: plan.interrupts_for_shootdowns,
            memory: RefCell::default(),
            running: Cell::new(0),
            executing: Cell::new(false),
            switched: Cell::new(false),
            broken: RefCell::default(),
            log: RefCell::default(),
            judge: JudgeBox(judge),
            interrupt: interrupt::<S>,
            forget_calls: model::forget_calls::<S>,
            forget_links: model::forget_links::<S>,
            stack_fault: model::stack_fault::<S>,
            is_only_waited_for_frames: model::is_only_waited_for_frames::<S>,
            for_each_parked: |f| model::for_each_parked::<S>(f),
            for_each_free: |f| model::for_each_free::<S>(|frame| f(frame.as_u64())),
        };
        for (number, thread) in threads.iter().enumerate() {
            let program = thread.program;
            let run = move || run_thread::<S>(number, program);
            world.coroutines.push(Coroutine::new(&mut memory, number, run));
        }
        for cpu in 0..cpus {
            world.coroutines.push(Coroutine::new(&mut memory, threads.len() + cpu, || model::idle::<S>()));
        }
        // It is looked at by what follows, so it has to stand where it will stay.
        let world: &'static mut Self = Box::leak(Box::new(world));
        let shared: *mut Self = world;
        // SAFETY: leaked just now. What is still to be filled in is not looked at before it is.
        CURRENT.set(Some(unsafe { &*shared }));
        let region = MemoryRegion {
            start: PhysAddr::new(PAGE_BYTES),
            end: PhysAddr::new((total_frames as u64 + 1) * PAGE_BYTES),
        };
        // SAFETY: the frames are the model's, and their first words are there.
        let added = kernel.frames.with::<S, _>(|frames| unsafe { frames.add(region, &[]) });
        assert!(added, "one region fits");
        kernel.live_threads.store(threads.len(), Ordering::Relaxed);
        let mut made = Vec::new();
        for (number, bytes) in sizes.iter().enumerate() {
            let is_idle = number >= threads.len();
            let priority = if is_idle { Priority::MIN } else { threads[number].priority };
            let top_entry = NonNull::from(current().entries[number][0]);
            let is_reclaimer = threads.get(number).is_some_and(|thread| thread.is_reclaimer);
            let is_system = is_idle || is_reclaimer;
            let parts = Parts { number: number as u64, priority, stack_bytes: *bytes, top_entry, is_system };
            // SAFETY: the entries are kept for good, and each thread has its own.
            let thread =
                unsafe { model::new_thread::<S>(parts, model::populate::<S>) }.expect("a frame for each thread");
            keep_thread(&mut memory, thread);
            if is_reclaimer {
                model::make_reclaimer(kernel, thread);
            }
            made.push(thread);
        }
        for (number, thread) in made.iter().enumerate() {
            match threads.get(number) {
                Some(plan) => model::make_ready(current().cpus[plan.cpu], thread),
                None => model::start_cpu(kernel, current().cpus[number - threads.len()], thread),
            }
        }
        if let Some(call) = refuses {
            kernel.frames.with::<S, _>(|frames| frames.refuse(Refusal::Nth(call)));
        }
        // A thread that is new has used nothing of its stack.
        let tops = made.iter().map(|thread| thread.saved_stack_pointer()).collect();
        // SAFETY: nothing of it is borrowed now.
        unsafe { (*shared).tops = tops };
        // SAFETY: as above.
        unsafe { (*shared).threads = made };
        let world = current();
        world.remember_frames();
        for coroutine in &world.coroutines {
            coroutine.resume();
        }
        memory.begin();
        world.memory.replace(memory);
        world
    }
}

/// The first word of each frame is all that anybody writes there.
fn keep_ram(memory: &mut Memory, frames: usize) -> Window {
    let words = vec![0u64; (frames + 2) * (PAGE_BYTES as usize / 8)].leak();
    let start = VirtAddr::from_ptr(words.as_ptr()).as_u64().next_multiple_of(PAGE_BYTES);
    let window = Window::new(VirtAddr::new(start));
    for frame in 1..=frames as u64 {
        let word = window.pointer::<u64>(PhysAddr::new(frame * PAGE_BYTES));
        memory.keep_at(NonNull::new(word).expect("a frame lies somewhere"), 1);
    }
    window
}

/// The leaf entries of a slot, from that of the top page down.
fn keep_entries(memory: &mut Memory, stack_bytes: u64) -> Vec<&'static AtomicU64> {
    let count = 2 * (stack_bytes / PAGE_BYTES) as usize;
    let entries: &'static mut [AtomicU64] = Box::leak((0..count).map(|_| AtomicU64::new(0)).collect());
    memory.keep_at(NonNull::from(&entries[0]).cast(), count);
    let entries: &'static [AtomicU64] = entries;
    entries.iter().rev().collect()
}

/// A thread, with the two counts that stand before it.
fn keep_thread(memory: &mut Memory, thread: &'static Thread) {
    let start: NonNull<u64> = NonNull::from(thread).cast();
    // SAFETY: an `Arc` made it: strong and weak count, then the thread.
    let start = unsafe { start.sub(2) };
    memory.keep_at(start, 2 + size_of::<Thread>() / 8);
}

fn run_thread<S: System>(number: usize, program: Program) {
    let (left, leaving) = current().left();
    model::begin::<S>(left, leaving);
    program();
    current().books.threads[number].finished.set(true);
    // Its memory stays the model's.
    std::mem::forget(model::handle::<S>(current().threads[number]));
    model::end::<S>();
}
