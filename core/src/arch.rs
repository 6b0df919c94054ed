//! The contract between core and an architecture (`arch/*`): CPU control, the switch, paging.
//!
//! Everything here is a static method or a constant of one type, so that a call costs what the instruction costs.
//! The traits are `unsafe` because core's soundness rests on them: a switch that loses a register or an entry that
//! decodes to another frame breaks every thread.

#![expect(unsafe_code, reason = "a contract that soundness rests on")]

use core::sync::atomic::AtomicBool;

use memory_addresses::{PhysAddr, VirtAddr};

use crate::cpu::PerCpu;
use crate::provoke::CallRegisters;
use crate::report::Place;
use crate::stack::StackError;
use crate::sync::atomic::AtomicU64;
use crate::system::System;
use crate::thread::{Leaving, Thread};

mod user;

pub use user::{Answer, FLOAT_STATE_BYTES, FloatState, SystemCall, UserContext, UserFault, UserMode, UserStart};

/// Bytes in a page and in a frame.
pub const PAGE_BYTES: u64 = 4096;

/// All that an architecture gives.
pub trait Arch: Cpu + Switch + Paging + Traps + 'static {
    /// The architecture's name, as `--arch` spells it.
    const NAME: &'static str;
}

/// Control of the CPU that executes the call.
///
/// # Safety
///
/// The methods do what they say; `per_cpu` returns what `set_per_cpu` was given on this CPU.
pub unsafe trait Cpu {
    /// Turns interrupts off and says whether they were on.
    fn disable_interrupts() -> bool;

    /// Turns interrupts off where they are known to be on.
    fn mask_interrupts();

    /// Turns interrupts on.
    fn enable_interrupts();

    /// Says whether interrupts are on.
    fn interrupts_enabled() -> bool;

    /// Waits for an interrupt, which is taken; enters and returns with interrupts off.
    fn wait_for_interrupt();

    /// Tells the CPU that the caller waits in a loop for what another CPU does.
    fn relax();

    /// Stops this CPU for good.
    fn halt() -> !;

    /// The per-CPU data of this CPU. Stable only while the thread cannot be moved to another CPU. Works from
    /// [`Cpu::set_per_cpu`] on, before there is a thread.
    fn per_cpu() -> &'static PerCpu;

    /// The running thread. One instruction, so it needs no protection from migration.
    fn current() -> &'static Thread;

    /// Sets this CPU's per-CPU data.
    ///
    /// # Safety
    ///
    /// Called once on each CPU before anything asks for it.
    unsafe fn set_per_cpu(cpu: &'static PerCpu);

    /// Raises the preemption count. Whatever interrupts this, the running thread's count is right after it: it is changed
    /// in one instruction, or is the thread's own.
    fn preempt_disable();

    /// Lowers the preemption count, likewise; the caller looks at `need_resched`.
    fn preempt_enable();

    /// The preemption count: above 0, the running thread is not preempted. See [`Head`](crate::thread::Head).
    fn preempt_count() -> u32;

    /// Reads the cycle counter. Under QEMU's `-icount shift=0` it counts instructions.
    fn counter() -> u64;

    /// The caller's frame pointer, where a backtrace starts.
    fn frame_pointer() -> VirtAddr;

    /// The caller's stack pointer: nothing that it has in use lies below.
    fn stack_pointer() -> VirtAddr;
}

/// The first function of a thread: gets the thread that was left for it, and how, and its own argument. On the host a panic
/// unwinds out of it; elsewhere a panic ends the run.
pub type Entry = extern "C-unwind" fn(Option<&'static Thread>, Leaving, *mut ()) -> !;

/// The switch between threads.
///
/// # Safety
///
/// `switch` returns, for each thread, with every register as the caller was compiled to expect it.
pub unsafe trait Switch {
    /// Bytes that must be free below the interrupted stack pointer before a trap frame moves to a thread's stack:
    /// the frame itself, `schedule()` and the switch.
    const PREEMPT_STACK_BYTES: u64;

    /// Bytes below the stack pointer of who switches that may be in use until that has left the stack: what takes pages from that
    /// very stack before, and what [`Switch::switch`] pushes.
    const SWITCH_STACK_BYTES: u64;

    /// Writes the first activation record of a new thread at `top`, so that the first switch to it calls
    /// `entry(left, leaving, argument)` with interrupts off, where `left` and `leaving` are what [`Switch::switch`]
    /// returns to a thread that ran before (no `left` after [`Switch::switch_first`]). Returns the saved stack pointer.
    ///
    /// # Safety
    ///
    /// The page below `top` is populated and nobody else uses it.
    unsafe fn prepare(top: VirtAddr, entry: Entry, argument: *mut ()) -> VirtAddr;

    /// Leaves `prev` and continues `next`: saves prev's registers and stack pointer, and moves the stack pointer and
    /// "current" with no stack access between. So it returns in *next*, on next's stack, where that called `switch`
    /// itself; and it returns there the thread that was left, and how, for the second half to hand on.
    ///
    /// # Safety
    ///
    /// Interrupts are off; `prev` runs on this CPU; `next` is owned by this CPU, populated, and not `prev`.
    unsafe fn switch(prev: &'static Thread, next: &'static Thread, leaving: Leaving) -> (&'static Thread, Leaving);

    /// Calls `f(argument)` on the stack that ends at `top`, and returns when it has returned. `left` gets the stack pointer at which the
    /// caller's stack is left meanwhile. Frame pointers lead from the one stack to the other.
    ///
    /// # Safety
    ///
    /// The stack is as populated as `f` needs it, and nobody uses it. `f` can be called with `argument`.
    unsafe fn call_on(top: VirtAddr, f: extern "C-unwind" fn(*mut ()), argument: *mut (), left: &AtomicU64);

    /// Reads a byte of the running thread's stack, so that what has no page there comes to have one, where a fault gives it.
    ///
    /// # Safety
    ///
    /// It is a byte of that stack, and is there or comes by a fault.
    unsafe fn touch(address: VirtAddr) {
        // SAFETY: the caller's promise.
        unsafe { address.as_ptr::<u8>().read_volatile() };
    }

    /// Where a thread goes on that was left with this stack pointer, from what [`Switch::switch`] has put there; nothing where code has
    /// no addresses.
    ///
    /// # Safety
    ///
    /// A thread was left there by [`Switch::switch`], and its stack is populated from there up.
    unsafe fn left_at(_stack_pointer: VirtAddr) -> Option<Place> {
        None
    }

    /// Leaves the boot stack for good and starts `next`.
    ///
    /// # Safety
    ///
    /// As [`Switch::switch`], on the boot stack.
    unsafe fn switch_first(next: &Thread) -> !;
}

/// Ways to break the machine on purpose, and to look at what no program can see, for the images that test what happens
/// then. No part of [`Arch`]: a machine that is only a model needs none of it.
pub trait Provoke {
    /// The number of trap stacks.
    const TRAP_STACKS: usize;

    /// In an entry of a page table, of any level: the bits that let user mode in. The kernel keeps out then, where the CPU
    /// can see to that (x86_64: SMAP; aarch64: PAN).
    const USER: u64;

    /// Raises a breakpoint exception, which the run survives.
    fn breakpoint();

    /// Sends this CPU an interrupt that nobody can mask, which the run survives. Where there is none, an exception while
    /// everything is masked that can be.
    fn unmaskable_interrupt<S: System>();

    /// The code with which a system call enters and leaves the kernel; nothing where everything can be masked, and is.
    fn system_call_code() -> Option<&'static [u8]> {
        None
    }

    /// Whether something that nobody can mask has come in before the instruction at this offset of that code, in an `audit` build.
    fn was_interrupted_at(_offset: usize) -> bool {
        false
    }

    /// How many such things have come in and been handled, wherever they came in, in an `audit` build.
    fn unmaskable_interrupts() -> u64 {
        0
    }

    /// Raises an exception that nobody handles: an instruction that does not exist.
    fn undefined_instruction() -> !;

    /// Writes to a floating-point register, which the kernel does not have: there, an exception that nobody handles.
    fn touch_float_register();

    /// Touches a register that is wider than those that a thread of user mode can have: what ends it.
    fn touch_wide_register();

    /// Makes `state` one that `pattern` yields: another value for each floating-point register, and for what says how these round.
    fn draw_float(state: &FloatState, pattern: u64);

    /// Writes all floating-point registers, in user mode.
    fn write_float(state: &FloatState);

    /// Reads all floating-point registers, in user mode: the same bytes as were written, if nobody has changed one.
    fn read_float(state: &FloatState);

    /// Makes the delivery of an exception fail.
    fn double_fault() -> !;

    /// Overflows a trap stack. The numbers are the architecture's own, from 0.
    fn overflow_trap_stack(number: usize) -> !;

    /// Raises a fault while the handler of a page fault runs.
    fn nested_fault() -> !;

    /// Overflows the stack that ends at `top`, with interrupts off: that of the boot, which nobody uses any more.
    fn overflow_stack(top: VirtAddr) -> !;

    /// Calls `f` on a trap stack, as if a trap stood there.
    fn on_trap_stack(number: usize, f: extern "C" fn() -> !) -> !;

    /// Moves where traps begin down their stacks, so that each has `bytes` (a multiple of 16) left above its guard, or
    /// what it has if that is less: a report that needs more overflows.
    fn shorten_trap_stacks(bytes: u64);

    /// Makes the next write to the eight bytes at `address` an exception that nobody handles.
    fn watch(address: VirtAddr);

    /// Paints `bytes` (a multiple of 8) below the stack pointer, loops until `stop` is set, and returns how many bytes
    /// below the stack pointer the lowest word lies that something has written meanwhile.
    fn stack_used_until(stop: &AtomicBool, bytes: usize) -> usize;

    /// Fills every register with values that `pattern` yields, and the flags that nothing else needs, and takes `turns`
    /// turns of a loop that changes none of them. Returns a bit for each that has changed, in the architecture's order.
    fn registers_changed_meanwhile(pattern: u64, turns: u64) -> u64;

    /// The same with the registers that a call preserves, and `call` in place of the loop.
    fn registers_changed_by(pattern: u64, call: extern "C" fn()) -> u64;

    /// Where code may be entered by [`Provoke::call`] in user mode, whatever code it is: from the beginning to an instruction that
    /// returns, or else to one that raises an exception there. Nothing if there is none.
    fn find_end(code: &[u8]) -> Option<usize>;

    /// Calls what lies at `address`, as a function that has no arguments.
    fn call(address: VirtAddr);

    /// Calls the kernel from user mode, with these registers. Returns its answer, and a bit for each register that is not what it
    /// must be after a call: what a call keeps as before, what it loses 0. Behind the general registers, in the architecture's
    /// order, stand the stack pointer and the flags.
    fn call_kernel_with(registers: &CallRegisters) -> (Answer, u64);

    /// Does with these registers what user mode must not do.
    fn fault_with(registers: &CallRegisters) -> !;
}

/// Traps run on stacks of their own, since they may come at any instruction.
pub trait Traps {
    /// Gives the traps of `cpu` stacks with guards. `new_stack(name, bytes)` makes an always populated one and returns
    /// its top. Called by the boot CPU: for itself with effect at once, and for each other CPU before that is started.
    ///
    /// # Errors
    ///
    /// What `new_stack` failed with.
    fn set_trap_stacks<S: System>(
        cpu: &'static PerCpu,
        new_stack: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError>;
}

/// What a leaf entry of the stack range says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEntry {
    /// No frame.
    Empty,
    /// Populated: the frame is mapped.
    Present {
        /// The frame.
        frame: PhysAddr,
    },
    /// Resting: not mapped, but the frame is still the page's own.
    Resting {
        /// The frame.
        frame: PhysAddr,
        /// The generation that the rest was made with.
        generation: u32,
    },
}

/// How a page may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Data that never changes.
    ReadOnly,
    /// Data.
    ReadWrite,
    /// Code.
    Execute,
    /// Registers of a device: read and written, never cached.
    Device,
    /// Data that never changes, of which user mode may read as well. Only in the user's view.
    UserReadOnly,
    /// Code of user mode, which may also read it. Only in the user's view: the kernel can neither execute nor read it there.
    UserExecute,
    /// Data of user mode, the same in both views: the kernel touches it in [`UserMode::copy_from_user`] and
    /// [`UserMode::copy_to_user`] alone.
    UserReadWrite,
    /// Everything. Only in the tables that take the loader's place until the final ones are built.
    Boot,
}

/// An entry of a page table above or beside the stack range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableEntry {
    /// Maps nothing.
    Absent,
    /// Points to a table of the next level.
    Table(PhysAddr),
    /// Maps memory.
    Leaf(PhysAddr),
}

/// Page tables: four levels of 512 entries of 64 bits, as both architectures have them with 4 KiB pages.
///
/// # Safety
///
/// Encoding and decoding agree with what the CPU's page walker does.
pub unsafe trait Paging {
    /// Generations count modulo two to this power.
    const GENERATION_BITS: u32;

    /// In a leaf entry: the bit that says that the page was accessed. A walker that finds it clear sets it, in one atomic step
    /// with a look at the valid bit; where the hardware does not, that is a fault, whose handler does
    /// ([`access_fault`](crate::trap::access_fault)).
    const ACCESSED: u64;

    /// Encodes a pointer to a table.
    fn encode_table(table: PhysAddr) -> u64;

    /// Encodes a leaf: `level` 0 maps 4 KiB, 1 maps 2 MiB.
    fn encode_leaf(frame: PhysAddr, access: Access, level: u32) -> u64;

    /// Decodes an entry of `level` that was encoded by one of the two.
    fn decode(entry: u64, level: u32) -> TableEntry;

    /// Encodes a leaf entry of the stack range: writable, not executable, global, Accessed and Dirty set.
    ///
    /// Only the valid bit ever toggles in such an entry, so no walker writes it, but under a policy that
    /// [reads accessed bits](crate::stack::StackPolicy::READS_ACCESSED_BITS): core clears that one bit then. What rests may be a page of the heap, too, on
    /// its way back.
    fn encode_stack(entry: StackEntry) -> u64;

    /// Decodes a leaf entry of the stack range.
    fn decode_stack(entry: u64) -> StackEntry;

    /// Makes entries that were absent visible to this CPU's page walker before what they map is touched.
    ///
    /// x86_64: nothing, an absent entry is never cached (Intel SDM volume 3, 4.10.2.3). aarch64: `dsb ishst; isb`.
    fn publish();

    /// Invalidates the translation of one page on this CPU.
    fn invalidate_local(page: VirtAddr);

    /// Invalidates every translation on this CPU, global ones included: what it translates from then on was read from
    /// entries that it looked up later.
    fn invalidate_all_local();

    /// Invalidates the translations of `pages` on every CPU that has loaded the kernel's tables, and returns when all
    /// have done so. What the entries said before the call is visible to their walkers from then on.
    ///
    /// Interrupts are on, preemption is off and no spin lock is held, but perhaps the heap's, for which nobody waits with
    /// interrupts off: another CPU may wait for this one likewise.
    fn invalidate_everywhere<S: System>(pages: impl Iterator<Item = VirtAddr>);

    /// Makes `root` the root of the translation on this CPU.
    ///
    /// # Safety
    ///
    /// It maps everything that the running code uses.
    unsafe fn activate(root: PhysAddr);
}
