//! The model that is explored: the kernel's data, CPUs, threads, and what one choice does to them.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::VirtAddr;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::model;
use ebbtide_core::stack::{Leaving, Slot};
use ebbtide_core::thread::Thread;
use ebbtide_machine::entry;

mod making;
mod steps;

pub(crate) use steps::{halt, interrupt, pause, spin, step, wait_for};

use crate::books::{Books, Cpu, MAX_CPUS};
use crate::contract::TIMER_VECTOR;
use crate::coroutine::Coroutine;
use crate::memory::Memory;
use crate::plan::{Fill, Judge, Reach, Walker};

/// Something that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A CPU goes on to its next step.
    Run(u8),
    /// The timer's interrupt comes to a CPU, which takes it.
    Tick(u8),
    /// A CPU takes another one's interrupt, of this vector.
    Ipi(u8, u8),
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
    /// The policy takes pages of a stack that a thread still runs on, where it is about to leave.
    pub rests_before_switch: bool,
    /// What a thread does not use is taken where it leaves its CPU.
    pub rests_at_switch: bool,
    /// A fault on the running thread's stack populates it.
    pub grows_on_fault: bool,
    /// The policy asks what was accessed.
    reads_accessed_bits: bool,
    /// Others may come in within the protocols between CPUs.
    pub between_cpus: bool,
    /// Only while a CPU is at the last resort.
    only_at_last_resort: bool,
    /// Idle threads take their own affairs in one step.
    pub idles_at_once: bool,
    /// Shootdowns are core's.
    pub interrupts_for_shootdowns: bool,
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
    forget_links: fn(&[&'static Thread]),
    stack_fault: fn(VirtAddr),
    pub for_each_parked: fn(&mut dyn FnMut(&'static Thread)),
    pub is_only_waited_for_frames: fn() -> bool,
}

pub(crate) struct JudgeBox(pub Judge);

impl std::fmt::Debug for JudgeBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Judge")
    }
}

/// Every way to leave a thread: a state is words, so it holds their numbers.
const WAYS: [Leaving; 7] = [
    Leaving::Yielded,
    Leaving::Preempted,
    Leaving::Blocked,
    Leaving::Moved,
    Leaving::Parked,
    Leaving::Exited,
    Leaving::Idle,
];

/// Where it stands in [`WAYS`].
const fn number_of_way(way: Leaving) -> usize {
    match way {
        Leaving::Yielded => 0,
        Leaving::Preempted => 1,
        Leaving::Blocked => 2,
        Leaving::Moved => 3,
        Leaving::Parked => 4,
        Leaving::Exited => 5,
        Leaving::Idle => 6,
    }
}

const _: () = {
    let mut number = 0;
    while number < WAYS.len() {
        assert!(number_of_way(WAYS[number]) == number, "each way has its own place");
        number += 1;
    }
};

thread_local! {
    static CURRENT: Cell<Option<&'static World>> = const { Cell::new(None) };
}

/// The model that this host thread explores.
pub(crate) fn current() -> &'static World {
    CURRENT.get().expect("core is called in a model")
}

impl World {
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
        for (number, cpu) in self.books.cpus.iter().enumerate().filter(|(_, cpu)| cpu.listens()) {
            let vectors = (0..TIMER_VECTOR).filter(|vector| cpu.ipis.get() & 1 << vector != 0);
            choices.extend(vectors.map(|vector| Choice::Ipi(number as u8, vector)));
        }
        let has_to = choices.is_empty();
        for (number, cpu) in self.books.cpus.iter().enumerate() {
            let is_armed = cpu.armed.get() != 0;
            if is_armed && cpu.listens() && (has_to || self.books.ticks.get() > 0) && cpu.waits_for.get() == 0 {
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
        if cpu.ipis.get() != 0 && cpu.listens() && !self.is_between_cpus() {
            // It takes that first.
            return false;
        }
        match cpu.waits_for.get() {
            0 => !cpu.halted.get() && !cpu.stopped.get(),
            other => {
                let other = &self.books.cpus[usize::from(other) - 1];
                // One that waits for an answer has interrupts on, as has one without threads.
                other.listens() || !other.walks.get() || self.is_walker(other)
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
                cpu.takes.set(TIMER_VECTOR + 1);
                self.run(number.into());
            }
            Choice::Ipi(number, vector) => {
                let cpu = &self.books.cpus[usize::from(number)];
                self.note(|| format!("CPU {number}: another CPU's interrupt comes"));
                cpu.ipis.set(cpu.ipis.get() & !(1 << vector));
                cpu.takes.set(vector + 1);
                self.run(number.into());
            }
            Choice::Join => {
                self.note(|| format!("CPU {}: joins", self.cpus.len()));
                self.books.cpus[self.cpus.len()].joined.set(true);
            }
            Choice::Walk => {
                self.note(|| format!("CPU {}: invalidates all that it knows, and walks from now on", self.cpus.len()));
                let cpu = &self.books.cpus[self.cpus.len()];
                self.invalidate_all(self.cpus.len());
                cpu.walks.set(true);
            }
            Choice::Fill(cpu, thread, page) => self.for_each_fill(|c, t, p, frame| {
                if (c, t, p) == (cpu.into(), thread.into(), page.into()) {
                    self.books.cpus[c].tlb[t][p].set(frame);
                    if self.reads_accessed_bits {
                        // As every walker does that takes an entry.
                        self.entries[t][p].fetch_or(entry::ACCESSED, Ordering::Relaxed);
                    }
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
        (self.forget_links)(&self.threads);
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
        prev.head().saved_stack_pointer.store(self.stack_pointer_of(from).as_u64(), Ordering::Relaxed);
        cpu.left.set(from as u64 + 1);
        cpu.leaving.set(number_of_way(leaving) as u64);
        cpu.runs.set(to as u64);
        self.per_cpu().current.store(std::ptr::from_ref(next).cast_mut(), Ordering::Relaxed);
        self.check_switch_in(to);
        self.switched.set(true);
        self.coroutines[from].pause();
    }

    /// Where a thread's stack pointer stands, or was saved.
    pub fn stack_pointer_of(&self, thread: usize) -> VirtAddr {
        VirtAddr::new(self.tops[thread].as_u64() - self.books.threads[thread].depth.get())
    }

    /// The running thread touches its stack down to where `depth` bytes are in use.
    pub fn touch(&self, thread: usize, depth: u64) {
        let page = (depth.div_ceil(PAGE_BYTES).max(1) - 1) as usize;
        if self.grows_on_fault && !matches!(self.page(thread, page), StackEntry::Present { .. }) {
            (self.stack_fault)(VirtAddr::new(self.tops[thread].as_u64() - depth));
        }
        if !matches!(self.page(thread, page), StackEntry::Present { .. }) {
            self.broken(format!("{} touches page {page}, which it does not have", self.name(thread)));
        }
        self.remember_frames_of(thread);
    }

    /// Who was left for the thread that runs, and how.
    pub fn left(&self) -> (&'static Thread, Leaving) {
        let cpu = self.cpu();
        let left = cpu.left.replace(0).checked_sub(1).expect("a thread that was left");
        (self.threads[left as usize], WAYS[cpu.leaving.replace(0) as usize])
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

    /// Invalidates everything on a CPU.
    pub fn invalidate_all(&self, cpu: usize) {
        self.books.cpus[cpu].tlb.iter().flatten().for_each(|page| page.set(0));
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

    /// An idle thread is what executes, and what it does between its steps is its CPU's own.
    pub fn passes_over_idle(&self) -> bool {
        self.idles_at_once && self.me() >= self.threads.len() - self.cpus.len()
    }

    /// Others may come in within the protocols between CPUs, now.
    pub fn is_between_cpus(&self) -> bool {
        self.between_cpus && (!self.only_at_last_resort || model::is_at_last_resort(self.kernel))
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
