//! The machine: built from a seed, run to its end, and looked at afterwards.
#![expect(unsafe_code, reason = "a kernel lives as long as its machine, and no longer")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::boot::MemoryRegion;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::report;
use ebbtide_core::thread::{Builder, sleep_until};
use ebbtide_core::{PhysAddr, System, start};

use crate::baton::{drive, end};
use crate::checks::Checks;
use crate::context::{Context, Whereabouts};
use crate::cpu::Processor;
use crate::hook;
use crate::ram::Ram;
use crate::schedule::{Dice, Fill, Habits};
use crate::tamper::Wrong;
use crate::traps::Handlers;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The kernel ended it, with this code.
    Exit(u8),
    /// Core panicked.
    Panicked(String),
    /// The model found an invariant broken.
    Broken(String),
    /// Every CPU waits, and nothing will wake one.
    Hung,
}

/// What a run was.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What the kernel wrote to the console.
    pub console: String,
    /// Steps that it took.
    pub steps: u64,
    /// How often an entry of a stack's page changed.
    pub changes: u64,
    /// How often a page was invalidated on a CPU.
    pub invalidations: u64,
}

impl Outcome {
    /// Takes a run that went well.
    ///
    /// # Panics
    ///
    /// It did not.
    #[track_caller]
    pub fn unwrap(self) -> Self {
        assert_eq!(self.end, End::Exit(0), "{self}");
        self
    }

    /// Takes a run in which core panicked with what `text` says.
    ///
    /// # Panics
    ///
    /// It did not, or said something else.
    #[track_caller]
    pub fn panicked(self, text: &str) -> Self {
        assert!(matches!(&self.end, End::Panicked(what) if what.contains(text)), "wanted \"{text}\": {self}");
        self
    }

    /// Takes a run that the kernel ended with `code`, with a report that contains `text`.
    ///
    /// # Panics
    ///
    /// It ended otherwise.
    #[track_caller]
    pub fn ended(self, code: u8, text: &str) -> Self {
        assert!(self.end == End::Exit(code) && self.console.contains(text), "wanted {code}, \"{text}\": {self}");
        self
    }

    /// Takes a run in which the model found what `text` says.
    ///
    /// # Panics
    ///
    /// It found something else, or nothing.
    #[track_caller]
    pub fn broken(self, text: &str) -> Self {
        assert!(matches!(&self.end, End::Broken(what) if what.contains(text)), "wanted \"{text}\": {self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {} steps\n{}", self.end, self.steps, self.console)
    }
}

/// A machine that has not been started. The same plan gives the same run.
#[derive(Clone, Copy, Debug)]
#[must_use = "it does nothing until `run`"]
pub struct Plan {
    seed: u64,
    cpus: usize,
    frames: usize,
    cache: usize,
    most_steps: u64,
    habits: Habits,
    wrong: Wrong,
}

impl Plan {
    /// Plans a quiet machine: one CPU, 4 MiB, no interrupt but the timer's, time slices of 200,000 steps, and
    /// TLBs that take whatever is valid.
    pub fn new(seed: u64) -> Self {
        let habits = Habits {
            cpu_changes_one_in: 4,
            interrupt_one_in: 0,
            spurious_fault_one_in: 0,
            fill: Fill::Eager,
            step_ns: 100,
        };
        Self { seed, cpus: 1, frames: 1024, cache: 64, most_steps: 500_000, habits, wrong: Wrong::Nothing }
    }

    /// Plans a machine that makes use of its freedom: `cpus` CPUs, interrupts out of nowhere, spurious faults, and time
    /// slices of a few hundred steps.
    pub fn wild(seed: u64, cpus: usize) -> Self {
        let plan = Self::new(seed);
        let habits = Habits { interrupt_one_in: 50, spurious_fault_one_in: 50, step_ns: 100_000, ..plan.habits };
        Self { cpus, habits, ..plan }
    }

    /// With `frames` frames of RAM.
    pub fn frames(self, frames: usize) -> Self {
        Self { frames, ..self }
    }

    /// With so many CPUs.
    pub fn cpus(self, cpus: usize) -> Self {
        Self { cpus, ..self }
    }

    /// With stack caches of at most so many frames: 16 to 128.
    pub fn cache(self, frames: usize) -> Self {
        Self { cache: frames, ..self }
    }

    /// With TLBs that fill themselves so.
    pub fn fill(self, fill: Fill) -> Self {
        Self { habits: Habits { fill, ..self.habits }, ..self }
    }

    /// With a change of CPU at one step in `n`.
    pub fn cpu_changes_one_in(self, n: u32) -> Self {
        Self { habits: Habits { cpu_changes_one_in: n, ..self.habits }, ..self }
    }

    /// With a walker that misses an entry that is there, at one access in `n`; never, if that is 0.
    pub fn spurious_fault_one_in(self, n: u32) -> Self {
        Self { habits: Habits { spurious_fault_one_in: n, ..self.habits }, ..self }
    }

    /// With steps that take up to `ns` nanoseconds.
    pub fn step_ns(self, ns: u64) -> Self {
        Self { habits: Habits { step_ns: ns, ..self.habits }, ..self }
    }

    /// With a paging operation that does less than it should.
    pub fn wrong(self, wrong: Wrong) -> Self {
        Self { wrong, ..self }
    }

    /// Boots the machine and runs `main` in its main thread; the run ends when `main` returns.
    ///
    /// # Panics
    ///
    /// The model itself failed.
    pub fn run<S: System>(self, main: impl FnOnce() + Send + 'static) -> Outcome {
        hook::install();
        let host = std::thread::spawn(move || Machine::run::<S>(self, Box::new(main)));
        host.join().expect("the model itself did not panic")
    }
}

/// A machine that runs.
#[derive(Debug)]
pub(crate) struct Machine {
    pub ram: Ram,
    pub kernel: &'static Kernel,
    pub cpus: Vec<Processor>,
    pub dice: Dice,
    pub habits: Habits,
    pub wrong: Wrong,
    pub most_steps: u64,
    pub now: Cell<u64>,
    pub steps: Cell<u64>,
    /// The CPU whose turn it is.
    pub running: Cell<usize>,
    /// No interrupt comes that nobody asked for.
    pub quiet: Cell<bool>,
    /// A CPU executes something.
    pub executing: Cell<bool>,
    pub console: RefCell<String>,
    pub end: RefCell<Option<End>>,
    pub checks: RefCell<Checks>,
    pub traps: Handlers,
    /// Threads by the top of their stack.
    pub contexts: RefCell<BTreeMap<u64, Rc<Context>>>,
    memory: Cell<Option<MemoryRegion>>,
    main: RefCell<Option<Main>>,
}

struct Main(Box<dyn FnOnce()>);

impl fmt::Debug for Main {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Main")
    }
}

thread_local! {
    static CURRENT: Cell<Option<&'static Machine>> = const { Cell::new(None) };
}

/// The machine that this host thread runs.
pub(crate) fn current() -> &'static Machine {
    CURRENT.get().expect("core is called in a machine")
}

/// The same, while one of its CPUs executes something.
pub(crate) fn current_if_executing() -> Option<&'static Machine> {
    CURRENT.get().filter(|machine| machine.executing.get())
}

impl Machine {
    fn run<S: System>(plan: Plan, main: Box<dyn FnOnce() + Send>) -> Outcome {
        let ram = Ram::new(plan.frames);
        let root = ram.region().start;
        // SAFETY: the frame is zero, no allocator has it, and it lies in the window.
        let kernel = Box::leak(Box::new(unsafe { Kernel::with_root(ram.window(), root) }));
        let memory = MemoryRegion { start: PhysAddr::new(root.as_u64() + PAGE_BYTES), ..ram.region() };
        let settings = format!("ebbtide.cache={}", plan.cache);
        kernel.settings.read(&settings).expect("a bound that the kernel takes");
        let machine = Box::leak(Box::new(Self {
            checks: RefCell::new(Checks::new(root)),
            ram,
            kernel,
            cpus: (0..plan.cpus).map(Processor::new).collect(),
            dice: Dice::new(plan.seed),
            habits: plan.habits,
            wrong: plan.wrong,
            most_steps: plan.most_steps,
            now: Cell::new(1),
            steps: Cell::new(0),
            running: Cell::new(0),
            quiet: Cell::new(false),
            executing: Cell::new(false),
            console: RefCell::default(),
            end: RefCell::default(),
            traps: Handlers::of::<S>(),
            contexts: RefCell::default(),
            memory: Cell::new(Some(memory)),
            main: RefCell::new(Some(Main(main))),
        }));
        CURRENT.set(Some(machine));
        machine.boot::<S>();
        let end = drive(machine);
        let outcome = machine.outcome(end);
        machine.forget();
        CURRENT.set(None);
        outcome
    }

    fn boot<S: System>(&self) {
        for cpu in &self.cpus {
            cpu.per_cpu.this.store(std::ptr::from_ref(cpu.per_cpu).cast_mut(), std::sync::atomic::Ordering::Relaxed);
            let code: fn() = if cpu.number == 0 { boot_first::<S> } else { boot_other::<S> };
            cpu.started.set(cpu.number == 0);
            let context = Rc::new(Context::new(0, code));
            context.whereabouts.set(Whereabouts::On(cpu.number));
            *cpu.context.borrow_mut() = Some(context);
        }
    }

    fn outcome(&self, end: End) -> Outcome {
        let checks = self.checks.borrow();
        Outcome {
            end,
            console: self.console.take(),
            steps: self.steps.get(),
            changes: checks.pages.changes,
            invalidations: checks.pages.invalidations,
        }
    }

    /// Forgets what every coroutine was doing.
    fn forget(&self) {
        for context in self.contexts.take().values() {
            context.forget();
        }
        for cpu in &self.cpus {
            if let Some(context) = cpu.context.take() {
                context.forget();
            }
        }
    }

    /// Makes a new thread known, in place of the one that had its stack before.
    pub(crate) fn add(&self, context: Context) {
        let old = self.contexts.borrow_mut().insert(context.top, Rc::new(context));
        if let Some(old) = old {
            self.require(old.whereabouts.get() == Whereabouts::Gone, || {
                format!("the stack at {:#x} was given to another thread while its own lives", old.top)
            });
            old.forget();
        }
    }

    /// The CPU whose turn it is.
    pub(crate) fn cpu(&self) -> &Processor {
        &self.cpus[self.running.get()]
    }

    /// What executes.
    pub(crate) fn context(&self) -> Rc<Context> {
        self.cpu().context.borrow().as_ref().map(Rc::clone).expect("a CPU executes something")
    }

    /// Says whether it is known how the run ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Ends the run unless `holds`.
    pub(crate) fn require(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken(otherwise());
        }
    }

    /// Ends the run: an invariant is broken.
    pub(crate) fn broken(&self, what: String) -> ! {
        let cpu = self.cpu().number;
        end(End::Broken(format!("{what} (CPU {cpu}, step {})", self.steps.get())))
    }
}

fn boot_first<S: System>() {
    let machine = current();
    let cpu = machine.cpu();
    cpu.online.set(true);
    let memory = machine.memory.take().expect("a machine boots once");
    // SAFETY: the machine's RAM, which nothing uses but the root table, which is not in the region.
    let noted = machine.kernel.frames.with::<S, _>(|frames| unsafe { frames.add(memory, &[]) });
    assert!(noted, "one region fits");
    if let Err(error) = start::prepare_cpu::<S>(cpu.per_cpu) {
        report::refuse::<S>(error);
    }
    machine.pin_all();
    let Err(error) = start::run_main::<S>(cpu.per_cpu, run_main::<S>);
    report::refuse::<S>(error);
}

fn boot_other<S: System>() {
    let machine = current();
    let cpu = machine.cpu();
    cpu.online.set(true);
    if let Err(error) = start::prepare_cpu::<S>(cpu.per_cpu) {
        report::refuse::<S>(error);
    }
    start::run_idle::<S>(cpu.per_cpu)
}

fn run_main<S: System>() {
    let machine = current();
    if machine.cpus.len() > 1 {
        // Core's look for a deadlock knows one CPU: a thread that is ready on another one is none to it. It does not look
        // while a timer is armed.
        let asleep = Builder::new().spawn::<S, _, _>(|| sleep_until::<S>(u64::MAX / 2));
        machine.require(asleep.is_ok(), || "there is no memory for a second thread".into());
    }
    for cpu in &machine.cpus {
        cpu.started.set(true);
    }
    let main = machine.main.take().expect("a machine has one main thread");
    (main.0)();
    report::end::<S>(report::End::Exit(0))
}
