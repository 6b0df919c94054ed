//! The CPUs, and their control.
#![expect(unsafe_code, reason = "the contract of CPU control is unsafe")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use ebbtide_core::VirtAddr;
use ebbtide_core::arch::Cpu;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::stack::Leaving;
use ebbtide_core::thread::Thread;

use crate::baton::{halt, pause, step};
use crate::context::Context;
use crate::forever::Forever;
use crate::machine::current;
use crate::system::Simulated;
use crate::tlb::Tlb;

/// A simulated CPU.
#[derive(Debug)]
pub(crate) struct Processor {
    pub number: usize,
    pub per_cpu: Forever<PerCpu>,
    pub tlb: Tlb,
    /// What executes here.
    pub context: RefCell<Option<Rc<Context>>>,
    /// The thread that was left for the one that goes on, until that one asks.
    pub left: Cell<Option<(&'static Thread, Leaving)>>,
    pub interrupts: Cell<bool>,
    /// It waits for an interrupt.
    pub waiting: Cell<bool>,
    /// An interrupt that nobody asked for stands at the door.
    pub pending: Cell<bool>,
    /// The interrupts of other CPUs that stand at the door, a bit each.
    pub ipis: Cell<u32>,
    /// What the timer is armed for.
    pub deadline: Cell<Option<u64>>,
    /// The top of the stack on which traps run.
    pub trap_stack: Cell<Option<u64>>,
    /// It executes: the boot CPU from the beginning, the others from when that starts them.
    pub started: Cell<bool>,
    /// It has loaded the kernel's tables: its TLB counts.
    pub online: Cell<bool>,
}

impl Processor {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            per_cpu: Forever::new(PerCpu::new(number as u32)),
            tlb: Tlb::default(),
            context: RefCell::new(None),
            left: Cell::new(None),
            interrupts: Cell::new(false),
            waiting: Cell::new(false),
            pending: Cell::new(false),
            ipis: Cell::new(0),
            deadline: Cell::new(None),
            trap_stack: Cell::new(None),
            started: Cell::new(false),
            online: Cell::new(false),
        }
    }

    /// Says whether it waits for an interrupt, and none would come now.
    pub fn is_idle(&self, now: u64) -> bool {
        self.waiting.get() && !self.is_interrupt_due(now)
    }

    /// Says whether an interrupt would come now.
    pub fn is_interrupt_due(&self, now: u64) -> bool {
        self.pending.get() || self.ipis.get() != 0 || self.deadline.get().is_some_and(|deadline| deadline <= now)
    }
}

// SAFETY: each method does to the simulated CPU what its name says.
unsafe impl<const GENERATION_BITS: u32> Cpu for Simulated<GENERATION_BITS> {
    fn disable_interrupts() -> bool {
        step();
        current().cpu().interrupts.replace(false)
    }

    fn mask_interrupts() {
        step();
        let on = current().cpu().interrupts.replace(false);
        current().require(on, || "interrupts were masked where they are off".into());
    }

    fn enable_interrupts() {
        current().check_stays();
        current().cpu().interrupts.set(true);
        step();
    }

    fn interrupts_enabled() -> bool {
        step();
        current().cpu().interrupts.get()
    }

    fn wait_for_interrupt() {
        let cpu = current().cpu();
        current().require(!cpu.interrupts.get(), || "waited for an interrupt with interrupts on".into());
        cpu.waiting.set(true);
        while !cpu.is_interrupt_due(current().now.get()) {
            pause();
        }
        cpu.waiting.set(false);
        (current().traps.interrupt)();
        cpu.interrupts.set(false);
    }

    fn relax() {
        step();
        pause();
    }

    fn halt() -> ! {
        halt()
    }

    fn per_cpu() -> &'static PerCpu {
        step();
        current().cpu().per_cpu.get()
    }

    fn current() -> &'static Thread {
        let thread = current().cpu().per_cpu.current.load(Ordering::Relaxed);
        // SAFETY: the switch put the running thread there, which is alive.
        unsafe { thread.as_ref() }.expect("the boot code is no thread")
    }

    unsafe fn set_per_cpu(cpu: &'static PerCpu) {
        assert!(std::ptr::eq(cpu, current().cpu().per_cpu.get()), "a CPU's data is given when it is made");
    }

    fn preempt_disable() {
        step();
        current().cpu().per_cpu.head.preempt_count.fetch_add(1, Ordering::Relaxed);
    }

    fn preempt_enable() {
        let count = current().cpu().per_cpu.head.preempt_count.fetch_sub(1, Ordering::Relaxed);
        current().require(count > 0, || "preemption was allowed more often than forbidden".into());
        step();
    }

    fn preempt_count() -> u32 {
        step();
        current().cpu().per_cpu.head.preempt_count.load(Ordering::Relaxed)
    }

    fn counter() -> u64 {
        current().steps.get()
    }

    /// Where the running thread stands on its simulated stack.
    fn frame_pointer() -> VirtAddr {
        Self::stack_pointer()
    }

    fn stack_pointer() -> VirtAddr {
        VirtAddr::new(current().context().stack_pointer.get())
    }
}
