//! The contract between core and a machine (`platforms/*`): console, clock, timer, interrupts, exit.
#![expect(unsafe_code, reason = "a contract that soundness rests on")]

use memory_addresses::{PhysAddr, VirtAddr};

use crate::cpu::PerCpu;
use crate::system::System;

/// A machine.
///
/// # Safety
///
/// `interrupt` ends the interrupt that it is told of; device registers are touched as their manuals ask.
pub unsafe trait Platform: 'static {
    /// Prepares the console. Needs no memory and cannot fail.
    fn init_console();

    /// The page of the console's registers, if they lie in memory. The kernel maps it, with its own tables, at an address
    /// of its own choice, from the first of these tables on: between them and [`Platform::init`] a boot may be refused.
    fn console_registers() -> Option<PhysAddr> {
        None
    }

    /// The console's registers are at `address` from now on.
    fn console_mapped(address: VirtAddr) {
        let _ = address;
    }

    /// Writes to the console. Takes no lock and allocates nothing, so a panic or a trap may call it.
    fn write(bytes: &[u8]);

    /// Prepares interrupt controller, timer and clock of the boot CPU. Paging and the heap are there; interrupts
    /// are off.
    ///
    /// # Errors
    ///
    /// What the machine lacks, in words for people.
    fn init<S: System>() -> Result<(), &'static str>;

    /// The CPUs that the machine says it has, with the one that boots: 1 at least. They have the numbers below that, and
    /// the boot CPU has 0. Called after [`Platform::init`].
    fn cpus() -> u32;

    /// Starts a CPU that was prepared ([`prepare_cpu`](crate::start::prepare_cpu)). It loads the kernel's tables, does what
    /// the architecture needs, [`Cpu::set_per_cpu`](crate::arch::Cpu::set_per_cpu) and trap stacks included, and calls
    /// [`secondary::enter`](crate::secondary::enter) on the stack below `stack`, with interrupts off. Does not wait for any
    /// of that. Called by the boot CPU, for one CPU after the other.
    ///
    /// # Errors
    ///
    /// Why it cannot be started, in words for people.
    fn start_cpu<S: System>(cpu: &'static PerCpu, stack: VirtAddr) -> Result<(), &'static str>;

    /// Prepares interrupt controller and timer of the CPU that executes it, which is not the boot CPU. Interrupts are off.
    ///
    /// # Errors
    ///
    /// What the CPU lacks, in words for people.
    fn init_cpu<S: System>() -> Result<(), &'static str>;

    /// Interrupts the CPU of this number, which has come up. What was stored before is seen by its handler. May be called
    /// with interrupts on or off, and by a trap handler.
    fn send_ipi(cpu: u32, ipi: Ipi);

    /// Nanoseconds since boot. Never goes back.
    fn now() -> u64;

    /// Makes the timer interrupt come at `deadline` (nanoseconds since boot), or as soon as possible when that has
    /// passed; `None` disarms it. Needs interrupts off.
    fn arm_timer(deadline: Option<u64>);

    /// Ends the interrupt that came in on `vector` and says what it was. Where the CPU does not tell interrupts apart,
    /// `vector` is 0, and the machine asks its controller.
    fn interrupt(vector: u32) -> Interrupt;

    /// Ends the run with `code`: by the machine's exit device, else by switching it off.
    fn exit(code: u8) -> !;
}

/// What an interrupt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The timer's.
    Timer,
    /// Another CPU's.
    Ipi(Ipi),
    /// One that the controller itself calls spurious.
    Spurious,
    /// One that nobody asked for, with its number on this machine.
    Unexpected(u32),
}

/// Why one CPU interrupts another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipi {
    /// Threads were made ready for it, or it should look for something to do.
    Reschedule,
    /// Translations are to be invalidated: where the hardware does not do that by itself.
    Shootdown,
    /// The run ends: it stops.
    Stop,
}
