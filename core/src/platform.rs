//! The contract between core and a machine (`platforms/*`): console, clock, timer, interrupts, exit.
#![expect(unsafe_code, reason = "a contract that soundness rests on")]

use memory_addresses::{PhysAddr, VirtAddr};

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
    fn init<S: crate::System>() -> Result<(), &'static str>;

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
    /// One that the controller itself calls spurious.
    Spurious,
    /// One that nobody asked for, with its number on this machine.
    Unexpected(u32),
}
