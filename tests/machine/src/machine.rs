//! The machine: built from a seed, run to its end, and looked at afterwards.
#![expect(unsafe_code, reason = "a kernel lives as long as its machine, and no longer")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::boot::MemoryRegion;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::memory::frames::Refusal;
use ebbtide_core::stack::Guard;
use ebbtide_core::{PhysAddr, StackPolicy, System, start};
use ebbtide_core::{audit, report, secondary};

use crate::baton::{drive, end};
use crate::checks::Checks;
use crate::context::{Context, Whereabouts};
use crate::cpu::Processor;
use crate::forever::Forever;
use crate::outcome::{End, Outcome};
use crate::plan::Plan;
use crate::ram::Ram;
use crate::schedule::{Dice, Habits};
use crate::tamper::Wrong;
use crate::traps::Handlers;

/// A machine that runs.
#[derive(Debug)]
pub(crate) struct Machine {
    pub ram: Ram,
    pub kernel: Forever<Kernel>,
    pub cpus: Vec<Processor>,
    pub dice: Dice,
    pub habits: Habits,
    pub wrong: Wrong,
    pub refusal: Refusal,
    /// The words of the command line that ask for faults.
    pub faults: String,
    /// The policy takes pages of a stack that a thread still runs on, where it is about to leave.
    pub rests_before_switch: bool,
    /// The policy asks what was accessed.
    pub reads_accessed_bits: bool,
    /// A fault on the running thread's stack populates it.
    pub grows_on_fault: bool,
    /// How much of a slot is guard.
    pub guard: Guard,
    /// Pages that a thread has that does not ask for more.
    pub unasked: u64,
    /// Calls of the frame allocator while tasks ran.
    pub allocations: Cell<u64>,
    pub most_steps: u64,
    pub now: Cell<u64>,
    pub steps: Cell<u64>,
    /// The CPU whose turn it is.
    pub running: Cell<usize>,
    /// No interrupt comes that nobody asked for.
    pub quiet: Cell<bool>,
    /// Nothing happens but what the running CPU does.
    pub frozen: Cell<bool>,
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
    /// The lowest address of its stack that a thread may use that has asked for nothing. A temporary stack was asked for.
    pub fn lowest_unasked(&self, context: &Context) -> u64 {
        let slot = context.slot().expect("a thread has a stack");
        let unasked = if context.is_on_temporary() { u64::MAX } else { self.unasked };
        let pages = (slot.class.stack_pages(self.guard) as u64).min(unasked);
        slot.top().as_u64() - pages * PAGE_BYTES
    }

    /// Runs a machine as planned, on this host thread.
    pub fn run<S: System>(plan: Plan, main: Box<dyn FnOnce() + Send>) -> Outcome {
        let ram = Ram::new(plan.frames);
        let root = ram.region().start;
        // SAFETY: the frame is zero, no allocator has it, and it lies in the window.
        let kernel = Forever::new(unsafe { Kernel::with_root(ram.window(), root) });
        let memory = MemoryRegion { start: PhysAddr::new(root.as_u64() + PAGE_BYTES), ..ram.region() };
        // Sweeps come as often as the threads of random programs sleep.
        let reclaim = if S::Policy::SWEEPS { " ebbtide.reclaim=1" } else { "" };
        let settings = format!("ebbtide.cache={}{reclaim}", plan.cache);
        kernel.settings.read::<S::Policy>(&settings, S::AUDIT).expect("a bound that the kernel takes");
        if S::Policy::READS_ACCESSED_BITS {
            let settings = format!("ebbtide.accessed={}", plan.forgets_after);
            kernel.settings.read::<S::Policy>(&settings, S::AUDIT).expect("a number that the kernel takes");
        }
        let faults = plan.faults.map(|faults| format!("ebbtide.fault={faults} ebbtide.seed={}", plan.seed as u32));
        let faults = faults.unwrap_or_default();
        kernel.settings.read::<S::Policy>(&faults, S::AUDIT).expect("faults that an audit takes");
        let machine = Forever::new(Self {
            checks: RefCell::new(Checks::new(root)),
            ram,
            kernel,
            cpus: (0..plan.cpus).map(Processor::new).collect(),
            dice: Dice::new(plan.seed),
            habits: plan.habits,
            wrong: plan.wrong,
            refusal: plan.refusal,
            faults,
            rests_before_switch: S::Policy::RESTS_BEFORE_SWITCH,
            reads_accessed_bits: S::Policy::READS_ACCESSED_BITS,
            grows_on_fault: S::Policy::GROWS_ON_FAULT,
            guard: S::Policy::GUARD,
            unasked: S::Policy::PAGES_UNASKED as u64,
            allocations: Cell::new(0),
            most_steps: plan.most_steps,
            now: Cell::new(1),
            steps: Cell::new(0),
            running: Cell::new(0),
            quiet: Cell::new(false),
            frozen: Cell::new(false),
            executing: Cell::new(false),
            console: RefCell::default(),
            end: RefCell::default(),
            traps: Handlers::of::<S>(),
            contexts: RefCell::default(),
            memory: Cell::new(Some(memory)),
            main: RefCell::new(Some(Main(main))),
        });
        CURRENT.set(Some(machine.get()));
        machine.boot::<S>();
        let end = drive(&machine);
        let outcome = machine.outcome(end);
        machine.forget();
        CURRENT.set(None);
        for cpu in &machine.cpus {
            // SAFETY: the machine has ended, and what executed on it is forgotten as it stood.
            unsafe { cpu.per_cpu.end() };
        }
        // SAFETY: as above; whatever was leaked with a coroutine is never looked at.
        unsafe { kernel.end() };
        // SAFETY: as above, and nobody can ask for it any more.
        unsafe { machine.end() };
        outcome
    }

    fn boot<S: System>(&self) {
        for cpu in &self.cpus {
            cpu.per_cpu
                .head
                .cpu
                .store(std::ptr::from_ref(cpu.per_cpu.get()).cast_mut(), std::sync::atomic::Ordering::Relaxed);
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
            allocations: self.allocations.get(),
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
        self.give(context.top.get(), Rc::new(context));
    }

    /// The stack with this `top` is a thread's from now on.
    pub(crate) fn give(&self, top: u64, context: Rc<Context>) {
        let old = self.contexts.borrow_mut().insert(top, context);
        if let Some(old) = old {
            self.require(old.whereabouts.get() == Whereabouts::Gone, || {
                format!("the stack at {top:#x} was given to another thread while its own lives")
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
    let end = memory.end.as_u64();
    // SAFETY: the machine's RAM, which nothing uses but the root table, which is not in the region.
    let noted = machine.kernel.frames.with::<S, _>(|frames| unsafe { frames.add(memory, &[]) });
    assert!(noted, "one region fits");
    audit::prepare::<S>((end / PAGE_BYTES) as usize, &machine.faults);
    if let Err(error) = start::prepare_boot_cpu::<S>(cpu.per_cpu.get()) {
        report::refuse::<S>(error);
    }
    for cpu in &machine.cpus[1..] {
        if let Err(error) = secondary::start_with::<S>(cpu.per_cpu.get()) {
            report::refuse::<S>(error);
        }
    }
    machine.pin_all();
    let Err(error) = start::run_main::<S>(cpu.per_cpu.get(), run_main::<S>);
    report::refuse::<S>(error);
}

fn boot_other<S: System>() {
    let machine = current();
    let cpu = machine.cpu();
    cpu.online.set(true);
    // SAFETY: the boot CPU has prepared and started it, and it has the kernel's tables.
    unsafe { secondary::enter::<S>(cpu.per_cpu.get()) }
}

fn run_main<S: System>() {
    let machine = current();
    let main = machine.main.take().expect("a machine has one main thread");
    (main.0)();
    report::end::<S>(report::End::Exit(0))
}
