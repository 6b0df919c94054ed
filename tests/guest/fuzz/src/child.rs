//! Threads that a worker spawns: each ends in a way of its own.
#![expect(unsafe_code, reason = "shares its worker's memory, and does what it must not")]

use core::sync::atomic::Ordering;

use ebbtide::process;
use ebbtide::provoke::{self, CallRegisters, GENERAL_REGISTERS};
use ebbtide::time::Duration;
use ebbtide::user::{self, Call};

use crate::caller::{Caller, Shared};

/// What becomes of a thread. Those before `Panics` come to a good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It knows nothing of the worker, which may have ended, and ends at once.
    Stranger,
    /// It makes some calls and ends.
    Calls,
    /// It parks until it may end, each time for longer than anything lasts.
    Parks,
    /// It waits for a word to change, likewise.
    Waits,
    /// It waits for the same word, and computes for more than a time slice.
    Computes,
    /// It panics.
    Panics,
    /// It does what user mode must not do.
    Faults,
}

impl Role {
    const ALL: [Self; 7] =
        [Self::Stranger, Self::Calls, Self::Parks, Self::Waits, Self::Computes, Self::Panics, Self::Faults];
}

/// More than a time slice.
const SLICE: Duration = Duration::from_millis(11);

/// Where the fields of a child's first argument begin: the address is below.
const SALT_SHIFT: u32 = 48;
const ROLE_SHIFT: u32 = 56;

/// A child's first argument.
pub fn errand(role: Role, salt: u8, shared: &Shared) -> u64 {
    let address = if role == Role::Stranger { 0 } else { (&raw const *shared).addr() as u64 };
    (role as u64) << ROLE_SHIFT | u64::from(salt) << SALT_SHIFT | address
}

/// The first function of a child, in place of the kernel's own: without a heap. All it has is the errand.
pub extern "C" fn child(errand: u64, _argument: u64, _result: u64) -> ! {
    let address = errand & ((1 << SALT_SHIFT) - 1);
    if address == 0 {
        exit()
    }
    let role = Role::ALL[(errand >> ROLE_SHIFT) as usize];
    let salt = errand >> SALT_SHIFT & 0xff;
    // SAFETY: the worker joins this thread before that goes away.
    let shared = unsafe { &*core::ptr::with_exposed_provenance::<Shared>(address as usize) };
    let mut caller = Caller::new(shared, shared.plan.seed ^ errand >> SALT_SHIFT << SALT_SHIFT);
    match role {
        Role::Stranger | Role::Calls => {}
        Role::Parks => wait_in(&mut caller, |caller| {
            let most = long(caller);
            let arguments = caller.with_any([most]);
            let _ = caller.make(Call::Park, arguments);
        }),
        Role::Waits => wait_in(&mut caller, wait_for_word),
        Role::Computes => {
            wait_in(&mut caller, wait_for_word);
            compute();
        }
        Role::Panics => panic(&mut caller),
        Role::Faults if salt.is_multiple_of(2) => caller.fault(),
        Role::Faults => fault(salt / 2),
    }
    if !matches!(role, Role::Waits | Role::Computes) {
        for _ in 0..salt % 16 {
            caller.step();
        }
    }
    let arguments = caller.with_any([]);
    caller.last_call(Call::Exit, arguments)
}

/// Ends the thread. Who does not even have a frame pointer cannot use what threads of user mode usually do.
fn exit() -> ! {
    let others = [u64::MAX; GENERAL_REGISTERS];
    let registers = CallRegisters {
        number: Call::Exit as u64,
        arguments: [0; 5],
        others,
        stack_pointer: u64::MAX,
        flags: u64::MAX,
    };
    loop {
        let _ = provoke::call_kernel_with(&registers);
    }
}

fn wait_in(caller: &mut Caller<'_>, wait: fn(&mut Caller<'_>)) {
    while caller.shared.open.load(Ordering::Acquire) == 0 {
        wait(caller);
    }
}

fn wait_for_word(caller: &mut Caller<'_>) {
    let (word, most) = ((&raw const caller.shared.open).addr() as u64, long(caller));
    let arguments = caller.with_any([word, 0, most]);
    let _ = caller.make(Call::FutexWait, arguments);
}

/// Computes until it has been preempted, most likely.
fn compute() {
    let start = user::uptime();
    while user::uptime() - start < SLICE {
        provoke::registers_changed_meanwhile(1, 100_000);
    }
}

/// Nanoseconds that do not go by.
fn long(caller: &mut Caller<'_>) -> u64 {
    u64::MAX >> caller.below(3)
}

fn panic(caller: &mut Caller<'_>) -> ! {
    const MESSAGE: &str = "fuzzed, as it should: äöü";
    let bytes = if caller.one_in(2) { MESSAGE.len() } else { 0 };
    let arguments = caller.with_any([MESSAGE.as_ptr().addr() as u64, bytes as u64]);
    caller.last_call(Call::Panic, arguments)
}

/// Does what user mode must not do, in one of some ways.
fn fault(way: u64) -> ! {
    match way % 8 {
        0 => provoke::breakpoint(),
        1 => provoke::touch_wide_register(),
        2 => process::exit(0),
        3 => write(0xffff_9000_0000_0000),
        4 => write((&raw const crate::places::NO_TEXT).addr()),
        5 => write(0x0080_0000_0000_0000),
        6 => write(8),
        _ => provoke::undefined_instruction(),
    }
    // It does not come so far.
    loop {
        core::hint::spin_loop();
    }
}

fn write(address: usize) {
    let pointer = core::ptr::with_exposed_provenance_mut::<u64>(address);
    // SAFETY: none: it ends the thread.
    unsafe { pointer.write_volatile(0) };
}
