//! Ways to places where no app's code ever stands, for the images that test what is reported from there.
#![expect(unsafe_code, reason = "takes the idle thread's stack from it")]

use core::ops::Range;

use align_address::Align;
use memory_addresses::VirtAddr;

use crate::arch::{PAGE_BYTES, Paging, Provoke, Switch};
use crate::console;
use crate::cpu;
use crate::memory::table::{LEVELS, span};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::system::System;
use crate::thread::{self, Leaving, Thread};

/// What stands in the registers when user mode calls the kernel: anything.
#[derive(Clone, Copy, Debug)]
pub struct CallRegisters {
    /// The call's number.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 5],
    /// All other general registers, in the architecture's order; one of them holds what the caller needs.
    pub others: [u64; GENERAL_REGISTERS],
    /// The stack pointer.
    pub stack_pointer: u64,
    /// Flags, of which the architecture takes those that change nothing but themselves.
    pub flags: u64,
}

/// As many as any architecture has, without the stack pointer.
pub const GENERAL_REGISTERS: usize = 31;

/// As many values as there are registers, each made from the one before.
pub fn drawn<const COUNT: usize>(pattern: u64) -> [u128; COUNT] {
    let mut value = u128::from(pattern) << 64 | u128::from(!pattern);
    core::array::from_fn(|_| {
        value = value.wrapping_mul(0x0100_0193).rotate_left(13);
        value
    })
}

/// The boot stack, without its guard page.
pub fn boot_stack<S: System>() -> Range<VirtAddr> {
    S::kernel().boot_stack()
}

/// Runs `f` with the console's lock held.
pub fn with_console_locked<S: System>(f: impl FnOnce()) {
    console::LOCK.with::<S, _>(|()| f());
}

/// Calls `f` in the middle of the next switch to the idle thread: on that thread's stack, with interrupts off, before
/// the thread that was left is handed on. The caller waits until then; it should be the last one that is ready.
pub fn in_switch_to_idle<S: System>(f: fn() -> !) -> ! {
    cpu::without_interrupts::<S, _>(|| {
        let idle = cpu::this::<S>().idle();
        // SAFETY: the caller runs, so the idle thread does not, and nothing else touches it on its CPU.
        let top = unsafe { idle.stack_mut() }.top();
        // SAFETY: the stack is always populated, and what the idle thread had there is given up.
        let stack_pointer = unsafe { S::Arch::prepare(top, begin, f as *mut ()) };
        idle.set_saved_stack_pointer(stack_pointer);
    });
    loop {
        thread::park::<S>();
    }
}

/// What the idle thread goes on with.
extern "C-unwind" fn begin(_left: Option<&'static Thread>, _leaving: Leaving, f: *mut ()) -> ! {
    // SAFETY: `in_switch_to_idle` made it from such a function.
    let f: fn() -> ! = unsafe { core::mem::transmute(f) };
    f()
}

/// Calls `visit` with the addresses of everything that the kernel's view maps, leaf by leaf of its page tables, large pages whole. It
/// takes no lock: what is mapped or unmapped meanwhile is seen, or it is not.
pub fn mapped<S: System>(visit: &mut dyn FnMut(Range<u64>)) {
    S::kernel().tables::<S>().leaves(&mut |first, level| {
        let first = first.as_u64();
        visit(first..first + span(level));
    });
}

/// Lets user mode into the page that holds `address`.
pub fn give_to_user<S: System>(address: VirtAddr)
where
    S::Arch: Provoke,
{
    let tables = S::kernel().tables::<S>();
    for level in 0..LEVELS {
        if let Some(entry) = tables.find(address, level) {
            // SAFETY: tables are never freed.
            unsafe { entry.as_ref() }.fetch_or(S::Arch::USER, Ordering::Relaxed);
        }
    }
    S::Arch::invalidate_local(address.align_down(PAGE_BYTES));
}

/// Makes the page that holds `address` one that was never accessed.
///
/// # Panics
///
/// The page is not mapped.
pub fn forget_access<S: System>(address: VirtAddr)
where
    S::Arch: Provoke,
{
    leaf::<S>(address).fetch_and(!S::Arch::ACCESSED, Ordering::Relaxed);
    S::Arch::invalidate_local(address.align_down(PAGE_BYTES));
}

/// Says whether the page that holds `address` was accessed.
///
/// # Panics
///
/// The page is not mapped.
pub fn is_accessed<S: System>(address: VirtAddr) -> bool
where
    S::Arch: Provoke,
{
    leaf::<S>(address).load(Ordering::Relaxed) & S::Arch::ACCESSED != 0
}

fn leaf<S: System>(address: VirtAddr) -> &'static AtomicU64 {
    S::kernel().tables::<S>().leaf(address).expect("the page is mapped").0
}

/// Runs `f` with interrupts off.
pub fn with_interrupts_off<S: System>(f: impl FnOnce()) {
    cpu::without_interrupts::<S, _>(f);
}
