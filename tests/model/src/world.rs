//! The model that is explored: the kernel's data, CPUs, threads, and what one choice does to them.
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
use ebbtide_core::stack::{Leaving, Slot};
use ebbtide_core::thread::{Priority, Thread, preempt, timer_interrupt};
use ebbtide_core::{PhysAddr, System, VirtAddr};

use crate::books::{Books, Cpu, MAX_CPUS, MAX_THREADS};
use crate::coroutine::Coroutine;
use crate::memory::Memory;
use crate::plan::{Fill, Judge, Plan, Program, Reach, STACK_BYTES, Walker};

/// Something that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A CPU goes on to its next step.
    Run(u8),
    /// The timer's interrupt comes to a CPU, which takes it.
    Tick(u8),
    /// The CPU without threads joins.
    Join,
    /// It invalidates what it knows, and walks from now on.
    Walk,
    /// The TLB of a CPU takes an entry: of this thread's page.
    Fill(u8, u8, u8),
}

/// The model.
#[derive(Debug)]
pub(crate) struct World {
    pub kernel: &'static Kernel,
    pub books: &'static Books,
    pub cpus: Vec<&'static PerCpu>,
    /// The app's, and then an idle one for each CPU.
    pub threads: Vec<&'static Thread>,
    /// The leaf entries of each thread's slot: those of its pages first, from the top page down.
    pub entries: Vec<Vec<&'static AtomicU64>>,
    pub pages: Vec<usize>,
    /// The address behind each thread's stack.
    pub tops: Vec<VirtAddr>,
    pub coroutines: Vec<Coroutine>,
    pub total_frames: usize,
    pub reach: Reach,
    pub fill: Fill,
    pub walker: Option<Walker>,
    /// The frame allocator's calls are counted.
    refuses: bool,
    pub memory: RefCell<Memory>,
    /// The CPU whose turn it is.
    pub running: Cell<usize>,
    /// A coroutine executes.
    executing: Cell<bool>,
    /// The thread that ran was left for another one.
    switched: Cell<bool>,
    broken: RefCell<Option<String>>,
    /// What happens, while somebody listens.
    pub log: RefCell<Option<Vec<String>>>,
    pub judge: JudgeBox,
    /// Core's, for the system that is explored.
    interrupt: fn(),
    for_each_free: fn(&mut dyn FnMut(u64)),
    forget_calls: fn(),
}

pub(crate) struct JudgeBox(pub Judge);

impl std::fmt::Debug for JudgeBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Judge")
    }
}

thread_local! {
    static CURRENT: Cell<Option<&'static World>> = const { Cell::new(None) };
}

/// The model that this host thread explores.
pub(crate) fn current() -> &'static World {
    CURRENT.get().expect("core is called in a model")
}

impl World {
    /// Builds a model, which is there for good.
    pub fn new<S: System>(plan: Plan) -> &'static Self {
        let Plan { cpus, frames, ticks, reach, fill, walker, threads, mut memory, judge, timer_armed, refuses, .. } =
            plan;
        let all = threads.len() + cpus;
        assert!(cpus + usize::from(walker.is_some()) <= MAX_CPUS && all <= MAX_THREADS, "a small model");
        let books = memory.keep(Books::default());
        books.ticks.set(ticks);
        // A frame for each new thread's top page, and what the idle ones have.
        let total_frames = frames + threads.len() + 2 * cpus;
        let window = keep_ram(&mut memory, total_frames);
        let kernel = memory.keep(Kernel::new(window));
        // A refill brings half of it.
        kernel.settings.read("ebbtide.cache=16").expect("a bound that the kernel takes");
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
            memory: RefCell::default(),
            running: Cell::new(0),
            executing: Cell::new(false),
            switched: Cell::new(false),
            broken: RefCell::default(),
            log: RefCell::default(),
            judge: JudgeBox(judge),
            interrupt: interrupt::<S>,
            forget_calls: model::forget_calls::<S>,
            for_each_free: |f| model::for_each_free::<S>(|frame| f(frame.as_u64())),
        };
        for (number, thread) in threads.iter().enumerate() {
            let program = thread.program.clone();
            let run = move || run_thread::<S>(number, &program);
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
        let mut made = Vec::new();
        for (number, bytes) in sizes.iter().enumerate() {
            let is_idle = number >= threads.len();
            let priority = if is_idle { Priority::MIN } else { threads[number].priority };
            let top_entry = NonNull::from(current().entries[number][0]);
            let parts = Parts { number: number as u64, priority, stack_bytes: *bytes, top_entry, is_idle };
            // SAFETY: the entries are kept for good, and each thread has its own.
            let thread =
                unsafe { model::new_thread::<S>(parts, model::populate::<S>) }.expect("a frame for each thread");
            keep_thread(&mut memory, thread);
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
        if timer_armed {
            model::keep_timer_armed::<S>(made[threads.len()]);
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

    /// The CPU whose turn it is.
    pub fn cpu(&self) -> &'static Cpu {
        &self.books.cpus[self.running.get()]
    }

    pub fn per_cpu(&self) -> &'static PerCpu {
        self.cpus[self.running.get()]
    }

    /// The CPUs that have joined, a bit for each.
    pub fn joined(&self) -> u8 {
        (0..MAX_CPUS).filter(|cpu| self.books.cpus[*cpu].joined.get()).fold(0, |mask, cpu| mask | 1 << cpu)
    }

    /// What may happen next. Only if nothing else may, the timer has to fire.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        if self.books.end.get() > 0 {
            return choices;
        }
        for cpu in 0..self.cpus.len() {
            if self.can_run(cpu) {
                choices.push(Choice::Run(cpu as u8));
            }
        }
        let has_to = choices.is_empty();
        for (number, cpu) in self.books.cpus.iter().enumerate() {
            let listens = cpu.halted.get() || cpu.interrupts.get();
            let is_armed = (1..model::NOT_IN_THIS_RUN).contains(&cpu.armed.get());
            if is_armed && listens && (has_to || self.books.ticks.get() > 0) && cpu.waits_for.get() == 0 {
                choices.push(Choice::Tick(number as u8));
            }
        }
        if self.walker.is_some() {
            let walker = &self.books.cpus[self.cpus.len()];
            let first = self.walker == Some(Walker::WalksBeforeItJoins);
            if !walker.joined.get() && (!first || walker.walks.get()) {
                choices.push(Choice::Join);
            }
            if !walker.walks.get() && (first || walker.joined.get()) {
                choices.push(Choice::Walk);
            }
        }
        if self.fill == Fill::AnyTime {
            let apps = self.threads.len() - self.cpus.len();
            self.for_each_fill(|cpu, thread, page, _| {
                // Top pages, and those of idle threads, never change.
                if thread < apps && page > 0 {
                    choices.push(Choice::Fill(cpu as u8, thread as u8, page as u8));
                }
            });
        }
        choices
    }

    fn can_run(&self, cpu: usize) -> bool {
        let cpu = &self.books.cpus[cpu];
        match cpu.waits_for.get() {
            0 => !cpu.halted.get() || cpu.pending.get(),
            other => {
                let other = &self.books.cpus[usize::from(other) - 1];
                // One that waits for an answer has interrupts on, as has one without threads.
                other.interrupts.get() || other.halted.get() || !other.walks.get() || self.is_walker(other)
            }
        }
    }

    fn is_walker(&self, cpu: &Cpu) -> bool {
        self.books.cpus.get(self.cpus.len()).is_some_and(|walker| core::ptr::eq(walker, cpu))
    }

    /// Lets it happen.
    ///
    /// # Errors
    ///
    /// What is wrong then.
    pub fn choose(&self, choice: Choice) -> Result<(), String> {
        match choice {
            Choice::Run(cpu) => self.run(cpu.into()),
            Choice::Tick(number) => {
                let cpu = &self.books.cpus[usize::from(number)];
                self.note(|| format!("CPU {number}: the timer's interrupt comes"));
                self.books.ticks.set(self.books.ticks.get().saturating_sub(1));
                cpu.pending.set(true);
                self.run(number.into());
            }
            Choice::Join => {
                self.note(|| format!("CPU {}: joins", self.cpus.len()));
                self.books.cpus[self.cpus.len()].joined.set(true);
            }
            Choice::Walk => {
                self.note(|| format!("CPU {}: invalidates all that it knows, and walks from now on", self.cpus.len()));
                let cpu = &self.books.cpus[self.cpus.len()];
                cpu.tlb.iter().flatten().for_each(|page| page.set(0));
                cpu.walks.set(true);
            }
            Choice::Fill(cpu, thread, page) => self.for_each_fill(|c, t, p, frame| {
                if (c, t, p) == (cpu.into(), thread.into(), page.into()) {
                    self.books.cpus[c].tlb[t][p].set(frame);
                    self.note(|| {
                        format!("CPU {c}: its TLB takes page {p} of thread {t}: frame {}", frame / PAGE_BYTES)
                    });
                }
            }),
        }
        if let Some(what) = self.broken.take() {
            return Err(what);
        }
        if self.fill == Fill::Eager {
            self.for_each_fill(|cpu, thread, page, frame| self.books.cpus[cpu].tlb[thread][page].set(frame));
        }
        for cpu in &self.cpus {
            model::forget_counts(cpu);
        }
        if !self.refuses {
            (self.forget_calls)();
        }
        self.threads.iter().for_each(|thread| model::forget_rests(thread));
        self.check()
    }

    /// Goes on with what a CPU executes, up to the next step.
    fn run(&self, cpu: usize) {
        self.running.set(cpu);
        self.executing.set(true);
        loop {
            self.switched.set(false);
            self.coroutines[self.books.cpus[cpu].runs.get() as usize].resume();
            if !self.switched.get() || self.broken.borrow().is_some() {
                break;
            }
        }
        self.executing.set(false);
    }

    /// The running CPU goes on with `next`. Returns when somebody goes on with `prev`, on whatever CPU.
    pub fn switch(&self, prev: &'static Thread, next: &'static Thread, leaving: Leaving) {
        assert!(self.executing.get(), "a switch between two steps");
        let (cpu, from, to) = (self.cpu(), self.number_of(prev), self.number_of(next));
        let number = self.running.get();
        self.note(|| format!("CPU {number}: leaves {} ({leaving:?}) for {}", self.name(from), self.name(to)));
        let depth = self.books.threads[from].depth.get();
        prev.head().saved_stack_pointer.store(self.tops[from].as_u64() - depth, Ordering::Relaxed);
        cpu.left.set(from as u64 + 1);
        cpu.leaving.set(leaving as u64);
        cpu.runs.set(to as u64);
        self.per_cpu().current.store(std::ptr::from_ref(next).cast_mut(), Ordering::Relaxed);
        self.check_switch_in(to);
        self.switched.set(true);
        self.coroutines[from].pause();
    }

    /// Who was left for the thread that runs, and how.
    pub fn left(&self) -> (&'static Thread, Leaving) {
        let cpu = self.cpu();
        let left = cpu.left.replace(0).checked_sub(1).expect("a thread that was left");
        let all = [Leaving::Yielded, Leaving::Preempted, Leaving::Blocked, Leaving::Exited, Leaving::Idle];
        let leaving = all[cpu.leaving.replace(0) as usize];
        (self.threads[left as usize], leaving)
    }

    /// Runs `f` on the frames that are free.
    pub fn for_each_free(&self, mut f: impl FnMut(u64)) {
        (self.for_each_free)(&mut f);
    }

    /// Invalidates a page on a CPU.
    pub fn invalidate(&self, cpu: usize, address: VirtAddr) {
        let slot = Slot::of(address).expect("an address of a stack");
        let page = ((slot.top() - address - 1) / PAGE_BYTES) as usize;
        let thread = slot.number as usize;
        let running = self.running.get();
        self.note(|| format!("CPU {running}: page {page} of thread {thread} is invalidated on CPU {cpu}"));
        self.books.cpus[cpu].tlb[thread][page].set(0);
    }

    pub fn number_of(&self, thread: &Thread) -> usize {
        let number = self.threads.iter().position(|one| core::ptr::eq(*one, thread));
        number.expect("a thread of the model")
    }

    /// What a thread is called in a trace.
    pub fn name(&self, number: usize) -> String {
        match number.checked_sub(self.threads.len() - self.cpus.len()) {
            Some(cpu) => format!("idle {cpu}"),
            None => format!("thread {number}"),
        }
    }

    /// With three CPUs: an idle thread is what executes, and what it does between its steps is its CPU's own.
    pub fn passes_over_idle(&self) -> bool {
        self.cpus.len() > 2 && self.me() >= self.threads.len() - self.cpus.len()
    }

    /// The number of the thread that executes.
    pub fn me(&self) -> usize {
        self.cpu().runs.get() as usize
    }

    /// Says what is wrong; the exploration ends there.
    pub fn broken(&self, what: String) {
        self.broken.borrow_mut().get_or_insert(what);
    }

    /// Notes what happens, if somebody listens.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.push(what());
        }
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

fn run_thread<S: System>(number: usize, program: &Program) {
    let (left, leaving) = current().left();
    model::begin::<S>(left, leaving);
    program();
    current().books.threads[number].finished.set(true);
    // Its memory stays the model's.
    std::mem::forget(model::handle::<S>(current().threads[number]));
    model::end::<S>();
}

/// A point at which others may go on, and where an interrupt may come.
pub(crate) fn step(what: &'static str) {
    let world = current();
    if !world.executing.get() || world.books.end.get() > 0 {
        return;
    }
    let alone = world.cpus.len() == 1 && world.walker.is_none();
    if alone && !world.cpu().interrupts.get() {
        // Nobody else could do anything.
        return;
    }
    pause(what);
    let cpu = world.cpu();
    if cpu.pending.get() && cpu.interrupts.get() {
        (world.interrupt)();
    }
}

/// Lets others go on.
pub(crate) fn pause(what: &'static str) {
    let world = current();
    if !world.executing.get() {
        panic!("{what}: the model itself waits");
    }
    let me = world.me();
    let cpu = world.running.get();
    world.note(|| format!("CPU {cpu}: {} {what}", world.name(me)));
    world.coroutines[me].pause();
}

/// Waits until a CPU answers a shootdown.
pub(crate) fn wait_for(other: usize) {
    let world = current();
    if other != world.running.get() {
        world.cpu().waits_for.set(other as u8 + 1);
        pause("waits for an answer");
        world.cpu().waits_for.set(0);
    }
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        current().cpu().halted.set(true);
        pause("stands still");
    }
}

/// The timer's interrupt.
pub(crate) fn interrupt<S: System>() {
    let world = current();
    let cpu = world.cpu();
    let idles = cpu.halted.get();
    cpu.interrupts.set(false);
    cpu.pending.set(false);
    world.books.now.set(world.books.now.get().max(cpu.armed.replace(0)));
    timer_interrupt::<S>();
    if !idles && world.per_cpu().need_resched.load(Ordering::Relaxed) {
        preempt::<S>();
    }
    // The CPU on which the thread goes on.
    current().cpu().interrupts.set(true);
}
