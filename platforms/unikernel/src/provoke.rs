//! Ways to break the machine on purpose, and to look at what no program can see, for the images that test what happens
//! then.
#![expect(unsafe_code, reason = "breaks the machine on purpose")]

use core::ops::Range;
use core::sync::atomic::AtomicBool;

use ebbtide_core::System as _;
use ebbtide_core::arch::{FloatState, Provoke as _, Switch, UserMode as _};
use ebbtide_core::{VirtAddr, provoke};

pub use ebbtide_core::arch::Answer;
pub use ebbtide_core::provoke::{CallRegisters, GENERAL_REGISTERS};

use crate::machine::Arch;
use crate::system::Ebbtide;

/// Number of trap stacks.
pub const TRAP_STACKS: usize = Arch::TRAP_STACKS;

/// Bytes of a thread's stack that a preemption may use.
pub const PREEMPT_STACK_BYTES: u64 = <Arch as Switch>::PREEMPT_STACK_BYTES;

/// Bytes of a thread's stack that may be in use until a switch away from it has left that.
pub const SWITCH_STACK_BYTES: u64 = <Arch as Switch>::SWITCH_STACK_BYTES;

/// Raises a breakpoint exception, which the run survives.
pub fn breakpoint() {
    Arch::breakpoint();
}

/// Sends an interrupt that nobody can mask, which the run survives.
pub fn unmaskable_interrupt() {
    Arch::unmaskable_interrupt::<Ebbtide>();
}

/// Sends another CPU an interrupt that nobody can mask, where there is one; the run survives it.
pub fn send_unmaskable_interrupt(cpu: u32) {
    crate::machine::send_unmaskable(cpu);
}

/// The code with which a system call enters and leaves the kernel, where something comes in that nobody can mask.
pub fn system_call_code() -> Option<&'static [u8]> {
    Arch::system_call_code()
}

/// Whether such a thing has come in before the instruction at `offset` of it, in an image with `audit`.
pub fn was_interrupted_at(offset: usize) -> bool {
    Arch::was_interrupted_at(offset)
}

/// How many such things have come in and been handled, wherever they came in, in an image with `audit`.
pub fn unmaskable_interrupts() -> u64 {
    Arch::unmaskable_interrupts()
}

/// Raises an exception that nobody handles.
pub fn undefined_instruction() -> ! {
    Arch::undefined_instruction()
}

/// Writes to a floating-point register.
pub fn touch_float_register() {
    Arch::touch_float_register();
}

/// Touches a register that is wider than those that a thread of user mode can have.
pub fn touch_wide_register() {
    Arch::touch_wide_register();
}

/// Fills every floating-point register with what `pattern` yields, calls, and says whether each is still as it was. In user mode.
pub fn float_registers_survive(pattern: u64, call: impl FnOnce()) -> bool {
    let [before, after] = [FloatState::new(), FloatState::new()];
    Arch::draw_float(&before, pattern);
    Arch::write_float(&before);
    call();
    Arch::read_float(&after);
    after.to_bytes() == before.to_bytes()
}

/// Says whether every floating-point register is as a thread finds it that has written none. In user mode.
pub fn float_registers_are_unused() -> bool {
    let [first, now] = [FloatState::new(), FloatState::new()];
    Arch::init_float(&first);
    Arch::read_float(&now);
    now.to_bytes() == first.to_bytes()
}

/// Makes the delivery of an exception fail.
pub fn double_fault() -> ! {
    Arch::double_fault()
}

/// Overflows a trap stack.
pub fn overflow_trap_stack(number: usize) -> ! {
    Arch::overflow_trap_stack(number)
}

/// Raises a fault while the handler of a page fault runs.
pub fn nested_fault() -> ! {
    Arch::nested_fault()
}

/// Takes a frame from the allocator and forgets it.
pub fn lose_frame() {
    let _ = Ebbtide::kernel().frames.with::<Ebbtide, _>(|frames| frames.allocate());
}

/// Gives a frame back twice. Whoever takes frames from then on gets it twice.
pub fn free_frame_twice() {
    Ebbtide::kernel().frames.with::<Ebbtide, _>(|frames| {
        let frame = frames.allocate().expect("there is a frame");
        for _ in 0..2 {
            // SAFETY: none. Nobody but the audit looks at free frames before the run ends.
            unsafe { frames.deallocate(frame) };
        }
    });
}

/// Overflows the boot stack, which is left since the first thread runs.
pub fn overflow_boot_stack() -> ! {
    Arch::overflow_stack(provoke::boot_stack::<Ebbtide>().end)
}

/// Calls `f` on a trap stack, as if a trap stood there.
pub fn on_trap_stack(number: usize, f: extern "C" fn() -> !) -> ! {
    Arch::on_trap_stack(number, f)
}

/// Leaves each trap stack `bytes` above its guard, or what it has if that is less.
pub fn shorten_trap_stacks(bytes: u64) {
    Arch::shorten_trap_stacks(bytes);
}

/// Makes the next write to the eight bytes at `address` an exception that nobody handles.
pub fn watch(address: usize) {
    Arch::watch(VirtAddr::new(address as u64));
}

/// Loops until `stop` is set, and returns how many bytes below the stack pointer something wrote meanwhile, at most
/// `bytes`.
pub fn stack_used_until(stop: &AtomicBool, bytes: usize) -> usize {
    Arch::stack_used_until(stop, bytes)
}

/// How many bytes below a kernel stack's top were used at entries from user mode before the rest was there, and how many there
/// are for that; nothing under a policy that changes no stack there, and in an image without `audit` or debug assertions.
pub fn stack_used_at_entries() -> Option<(u64, u64)> {
    ebbtide_core::audit::stack_used_at_entries::<Ebbtide>()
}

/// How many bytes below the stack pointer of who switched were used until the stack pointer had left the stack, and how many there
/// are for that; nothing under a policy that takes none of it before, and in an image without `audit` or debug assertions.
pub fn stack_used_at_switches() -> Option<(u64, u64)> {
    ebbtide_core::audit::stack_used_at_switches::<Ebbtide>()
}

/// Fills every register, takes `turns` turns of a loop, and returns a bit for each register that has changed.
pub fn registers_changed_meanwhile(pattern: u64, turns: u64) -> u64 {
    Arch::registers_changed_meanwhile(pattern, turns)
}

/// Fills the registers that a call preserves, calls, and returns a bit for each that has changed.
pub fn registers_changed_by(pattern: u64, call: extern "C" fn()) -> u64 {
    Arch::registers_changed_by(pattern, call)
}

/// Where code may be entered by [`call`] in user mode, whatever code it is: from the beginning to an instruction that returns, or
/// else to one that raises an exception there. Nothing if there is none.
#[must_use]
pub fn find_end(code: &[u8]) -> Option<usize> {
    Arch::find_end(code)
}

/// Calls what lies at `address`, as a function that has no arguments. User mode may do so as well.
pub fn call(address: usize) {
    Arch::call(VirtAddr::new(address as u64));
}

/// Calls `visit` with the addresses of everything that the kernel's view maps, leaf by leaf of its page tables, large pages whole.
/// What is mapped or unmapped meanwhile is seen, or it is not.
pub fn mapped(mut visit: impl FnMut(Range<u64>)) {
    provoke::mapped::<Ebbtide>(&mut visit);
}

/// Calls the kernel from user mode, with these registers and this stack pointer. Returns what the kernel answers, and a bit for
/// each register that is not what it must be after a call.
pub fn call_kernel_with(registers: &CallRegisters) -> (Answer, u64) {
    Arch::call_kernel_with(registers)
}

/// Does with these registers what user mode must not do, in user mode.
pub fn fault_with(registers: &CallRegisters) -> ! {
    Arch::fault_with(registers)
}

/// Lets user mode into the page that holds `address`.
pub fn give_to_user(address: usize) {
    provoke::give_to_user::<Ebbtide>(VirtAddr::new(address as u64));
}

/// Makes the page that holds `address` one that was never accessed.
///
/// # Panics
///
/// The page is not mapped.
pub fn forget_access(address: usize) {
    provoke::forget_access::<Ebbtide>(VirtAddr::new(address as u64));
}

/// Says whether the page that holds `address` was accessed.
///
/// # Panics
///
/// The page is not mapped.
pub fn is_accessed(address: usize) -> bool {
    provoke::is_accessed::<Ebbtide>(VirtAddr::new(address as u64))
}

/// Runs `f` with the console's lock held.
pub fn with_console_locked(f: impl FnOnce()) {
    provoke::with_console_locked::<Ebbtide>(f);
}

/// Runs `f` with interrupts off.
pub fn with_interrupts_off(f: impl FnOnce()) {
    provoke::with_interrupts_off::<Ebbtide>(f);
}

/// Calls `f` in the middle of the next switch to the idle thread, on its stack; the caller waits until then.
pub fn in_switch_to_idle(f: fn() -> !) -> ! {
    provoke::in_switch_to_idle::<Ebbtide>(f)
}
