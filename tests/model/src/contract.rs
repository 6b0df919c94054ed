//! The contracts of core, as far as a model needs them: CPU control, the switch, traps, the platform.
#![expect(unsafe_code, reason = "the contracts are unsafe traits")]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::arch::{Arch, Cpu, Entry, Switch, Traps};
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::platform::{Interrupt, Ipi, Platform};
use ebbtide_core::stack::{Leaving, StackError};
use ebbtide_core::thread::Thread;
use ebbtide_core::{StackPolicy, System, VirtAddr};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;

use crate::world::{current, halt, interrupt, pause, spin, step};

/// Core on the model, with generations of so many bits, under policy `P`.
#[derive(Debug)]
pub struct Model<const GENERATION_BITS: u32 = 6, P = ReclaimOnSleep>(PhantomData<fn() -> P>);

impl<const GENERATION_BITS: u32, P: StackPolicy> System for Model<GENERATION_BITS, P> {
    type Arch = Self;
    type Platform = Board;
    type Policy = P;

    fn kernel() -> &'static Kernel {
        current().kernel
    }

    fn interleave() {
        if current().is_between_cpus() {
            step("is about to look at what CPUs share");
        }
    }
}

impl<const GENERATION_BITS: u32, P: StackPolicy> Arch for Model<GENERATION_BITS, P> {
    const NAME: &'static str = "model";
}

// SAFETY: each method does to the model's CPU what its name says.
unsafe impl<const GENERATION_BITS: u32, P: StackPolicy> Cpu for Model<GENERATION_BITS, P> {
    fn disable_interrupts() -> bool {
        let on = current().cpu().interrupts.get();
        if on && !current().passes_over_idle() {
            step("turns interrupts off");
        }
        current().cpu().interrupts.replace(false)
    }

    fn mask_interrupts() {
        Self::disable_interrupts();
    }

    fn enable_interrupts() {
        current().cpu().interrupts.set(true);
    }

    fn interrupts_enabled() -> bool {
        current().cpu().interrupts.get()
    }

    fn wait_for_interrupt() {
        let cpu = current().cpu();
        cpu.halted.set(true);
        pause("waits for an interrupt");
        cpu.halted.set(false);
        interrupt::<Self>();
        cpu.interrupts.set(false);
    }

    fn relax() {
        spin();
    }

    fn halt() -> ! {
        halt()
    }

    fn per_cpu() -> &'static PerCpu {
        current().per_cpu()
    }

    fn current() -> &'static Thread {
        let thread = current().per_cpu().current.load(Ordering::Relaxed);
        // SAFETY: a thread of the model, which is never freed.
        unsafe { thread.as_ref() }.expect("a thread runs")
    }

    unsafe fn set_per_cpu(_: &'static PerCpu) {}

    fn preempt_disable() {
        current().per_cpu().head.preempt_count.fetch_add(1, Ordering::Relaxed);
    }

    fn preempt_enable() {
        current().per_cpu().head.preempt_count.fetch_sub(1, Ordering::Relaxed);
    }

    fn preempt_count() -> u32 {
        current().per_cpu().head.preempt_count.load(Ordering::Relaxed)
    }

    fn counter() -> u64 {
        0
    }

    fn frame_pointer() -> VirtAddr {
        VirtAddr::new(0)
    }

    fn stack_pointer() -> VirtAddr {
        current().stack_pointer_of(current().me())
    }
}

// SAFETY: a coroutine keeps its registers and its stack.
unsafe impl<const GENERATION_BITS: u32, P: StackPolicy> Switch for Model<GENERATION_BITS, P> {
    const PREEMPT_STACK_BYTES: u64 = 0;
    const SWITCH_STACK_BYTES: u64 = 0;

    unsafe fn prepare(_: VirtAddr, _: Entry, _: *mut ()) -> VirtAddr {
        unreachable!("the model makes its threads itself")
    }

    unsafe fn switch(prev: &'static Thread, next: &'static Thread, leaving: Leaving) -> (&'static Thread, Leaving) {
        step("the stack pointer moves");
        current().switch(prev, next, leaving);
        // Perhaps on another CPU.
        current().left()
    }

    unsafe fn call_on(_: VirtAddr, _: extern "C-unwind" fn(*mut ()), _: *mut (), _: &AtomicU64) {
        unreachable!("no program of the model borrows a stack")
    }

    unsafe fn switch_first(_: &Thread) -> ! {
        unreachable!("a CPU begins with its idle thread")
    }
}

impl<const GENERATION_BITS: u32, P: StackPolicy> Traps for Model<GENERATION_BITS, P> {
    fn set_trap_stacks<S: System>(
        _: &'static PerCpu,
        _: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError> {
        Ok(())
    }
}

/// The vector of the timer's interrupt; those of other CPUs lie below.
pub(crate) const TIMER_VECTOR: u8 = 3;

fn vector_of(ipi: Ipi) -> u8 {
    match ipi {
        Ipi::Stop => 0,
        Ipi::Shootdown => 1,
        Ipi::Reschedule => 2,
    }
}

/// The platform: a clock that stands still until a timer fires, and interrupts between CPUs, of which one that already stands at
/// the door is not told again.
#[derive(Debug)]
pub struct Board;

// SAFETY: there are no devices.
unsafe impl Platform for Board {
    fn init_console() {}

    fn write(bytes: &[u8]) {
        current().note(|| format!("console: {}", String::from_utf8_lossy(bytes).trim_end()));
    }

    fn init<S: System>() -> Result<(), &'static str> {
        Ok(())
    }

    fn cpus() -> u32 {
        current().cpus.len() as u32
    }

    fn start_cpu<S: System>(_: &'static PerCpu, _: VirtAddr) -> Result<(), &'static str> {
        unreachable!("the model makes its CPUs itself")
    }

    fn init_cpu<S: System>() -> Result<(), &'static str> {
        Ok(())
    }

    fn send_ipi(cpu: u32, ipi: Ipi) {
        step("interrupts another CPU");
        let ipis = &current().books.cpus[cpu as usize].ipis;
        ipis.set(ipis.get() | 1 << vector_of(ipi));
    }

    fn now() -> u64 {
        current().books.now.get()
    }

    fn arm_timer(deadline: Option<u64>) {
        current().cpu().armed.set(deadline.unwrap_or(0));
    }

    fn interrupt(vector: u32) -> Interrupt {
        let ipi =
            [Ipi::Stop, Ipi::Shootdown, Ipi::Reschedule].into_iter().find(|ipi| u32::from(vector_of(*ipi)) == vector);
        ipi.map_or(Interrupt::Timer, Interrupt::Ipi)
    }

    fn exit(code: u8) -> ! {
        current().books.end.set(u64::from(code) + 1);
        halt()
    }
}
