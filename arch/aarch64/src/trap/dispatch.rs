//! What an entry of the vector table means.
#![expect(unsafe_code, reason = "reads and moves trap frames")]

use core::sync::atomic::Ordering;

use aarch64_cpu::registers::ESR_EL1::EC::Value as Class;
use aarch64_cpu::registers::{ELR_EL1, ESR_EL1, FAR_EL1, Readable, SPSR_EL1};
use ebbtide_core::arch::{Switch, UserContext};
use ebbtide_core::report::Place;
use ebbtide_core::user::float;
use ebbtide_core::{System, VirtAddr, report, trap};

use super::entry::{TABLE_BYTES, TrapFrame, table};
use crate::syndrome::Syndrome;
use crate::user::INSTRUCTION_BYTES;
use crate::{Aarch64, user};

/// What an entry of the vector table is for: there are four of each kind, one for each of where the CPU comes from.
mod kind {
    pub const SYNCHRONOUS: u64 = 0;
    pub const IRQ: u64 = 1;
    pub const FIQ: u64 = 2;
    pub const KINDS: u64 = 4;
}

/// Handles a trap, on the trap stack with everything masked. Returns the frame to resume from: the one given, or one
/// that was moved to the interrupted thread's stack because it is to be preempted.
///
/// # Safety
///
/// Called by the entry code alone, with the frame that it has built.
pub(crate) unsafe extern "C" fn dispatch<S: System>(frame: *mut TrapFrame) -> *mut TrapFrame {
    // SAFETY: the entry code built it right here, and nobody else looks at it.
    let trap = unsafe { &mut *frame };
    trap::came::<S>(trap.vector, || (!trap.in_user_mode()).then(|| place(trap)));
    match trap.vector % kind::KINDS {
        kind::SYNCHRONOUS if trap.in_user_mode() => {
            if !Syndrome(trap.syndrome).is(Class::TrappedFP) || !begin_float() {
                return move_to_thread::<S>(trap);
            }
        }
        kind::SYNCHRONOUS => synchronous::<S>(trap),
        kind @ (kind::IRQ | kind::FIQ) => {
            let preempt = trap::interrupt::<S>(u32::from(kind == kind::FIQ));
            if preempt && !SPSR_EL1::I.is_set(trap.state) {
                return move_to_thread::<S>(trap);
            }
        }
        _ => report::exception::<S>(Syndrome(trap.syndrome), &place(trap)),
    }
    frame
}

fn synchronous<S: System>(trap: &mut TrapFrame) {
    let syndrome = Syndrome(trap.syndrome);
    if syndrome.is(Class::Brk64) {
        trap::note::<S>(format_args!("breakpoint at {:#x}", trap.instruction));
        // The CPU names the instruction itself, not the next one.
        trap.instruction += INSTRUCTION_BYTES;
    } else if syndrome.is_first_access() && trap::access_fault::<S>(place(trap).address) {
        // The access is tried again. No TLB has an entry whose flag is clear (D8.5.1), so nothing is invalidated.
    } else if let Some(tried) = syndrome.tried() {
        let place = place(trap);
        if trap::grow_stack::<S>(tried.absent, &place) {
            return;
        }
        if let Some(behind) = user::mended(trap.instruction) {
            trap.instruction = behind;
            return;
        }
        if place.address.as_u64() != trap.address {
            // Between the two halves nothing is ever mapped, and core has no such addresses.
            report::exception::<S>(format_args!("page fault ({tried}) at address {:#x}", trap.address), &place);
        }
        trap::page_fault::<S>(tried, tried.absent, &place);
    } else {
        report::exception::<S>(syndrome, &place(trap));
    }
}

/// The frame has been moved to the stack of the interrupted thread, which is preempted; or it has done in user mode what it must
/// not do, and this does not return.
///
/// # Safety
///
/// Called by the entry code alone, on that stack, below the frame.
pub(crate) unsafe extern "C" fn on_thread_stack<S: System>(frame: *const TrapFrame) {
    // SAFETY: the caller's promise.
    let trap = unsafe { &*frame };
    let is_interrupt = trap.vector % kind::KINDS != kind::SYNCHRONOUS;
    if is_interrupt && !(trap.in_user_mode() && user_context().has_float.get()) {
        trap::preempt::<S>(|| place(trap));
    } else {
        from_user_mode::<S>(trap);
    }
}

/// That of the running thread, which the trap found in user mode.
fn user_context() -> &'static UserContext {
    // SAFETY: only a thread that has one is ever there.
    unsafe { UserContext::running::<Aarch64>() }
}

/// The running thread has trapped in user mode because it has no floating-point registers, or none that are open. Returns whether
/// it has them now.
fn begin_float() -> bool {
    // SAFETY: it goes back there with interrupts off, or this does nothing.
    unsafe { float::first_use::<Aarch64>(user_context()) }
}

/// The same where it is more than a preemption: it has done what it must not do, or has floating-point registers to keep.
#[cold]
#[inline(never)]
fn from_user_mode<S: System>(trap: &TrapFrame) {
    let context = user_context();
    // SAFETY: the trap has not switched, and stores them here alone.
    let has_float = unsafe { float::store::<Aarch64>(context) };
    if trap.vector % kind::KINDS == kind::SYNCHRONOUS {
        let (syndrome, place) = (Syndrome(trap.syndrome), place(trap));
        match syndrome.tried() {
            Some(tried) => {
                (context.fault)(&format_args!("page fault ({tried}) at address {:#x}", trap.address), &place)
            }
            None => (context.fault)(&syndrome, &Place { address: VirtAddr::new(0), ..place }),
        }
    }
    trap::preempt::<S>(|| place(trap));
    if has_float {
        // SAFETY: interrupts are off behind a preemption, and the thread goes to user mode.
        unsafe { float::load::<Aarch64>(context) };
    }
}

/// A trap came while a handler ran, or an entry could not save its frame: reports it, from the emergency stack. The
/// arguments are the stack pointer and frame pointer of what was interrupted, and the entry of the vector table.
///
/// # Safety
///
/// Called by the entry code alone: what the CPU noted of the trap is still in its registers.
pub(crate) unsafe extern "C" fn nested<S: System>(stack_pointer: u64, frame_pointer: u64, vector: u64) -> ! {
    let syndrome = Syndrome(ESR_EL1.get());
    let place = place_in_handler(stack_pointer, frame_pointer);
    let address = place.address;
    if vector != u64::from(IN_HANDLER) + kind::SYNCHRONOUS {
        report::exception::<S>(format_args!("interrupt in a handler, where all are masked (entry {vector})"), &place);
    }
    let Some(_) = syndrome.tried() else {
        report::exception::<S>(format_args!("{syndrome} in the handler of another one"), &place)
    };
    trap::count_stack_fault::<S>(address);
    trap::report_overflow::<S>(address, &place);
    let entries = table::<S>()..table::<S>() + TABLE_BYTES as u64;
    if entries.contains(&place.instruction.as_u64()) {
        report::exception::<S>("double fault", &place);
    }
    report::exception::<S>(format_args!("page fault in the handler of another one (touched {address:#x})"), &place)
}

/// First entry of the vector table while SP_EL1 is in use.
const IN_HANDLER: u8 = 4;

/// The report of a nested trap has trapped itself: ends the run, from the last stack. An overflow of the stack on which the
/// report was made can still be told.
///
/// # Safety
///
/// As [`nested`].
pub(crate) unsafe extern "C" fn hopeless<S: System>(stack_pointer: u64) -> ! {
    let place = place_in_handler(stack_pointer, 0);
    trap::count_stack_fault::<S>(place.address);
    trap::report_overflow::<S>(place.address, &place);
    report::end::<S>(report::End::Exception)
}

/// Copies the frame to the kernel stack of the interrupted thread, once it is sure that everything fits there. Returns
/// the frame as it is if there is no room, and the thread goes on.
fn move_to_thread<S: System>(frame: &mut TrapFrame) -> *mut TrapFrame {
    let below = if frame.in_user_mode() {
        // The kernel stack of a thread in user mode is all but empty.
        user_context().stack_pointer.load(Ordering::Relaxed)
    } else {
        let place = Place { address: VirtAddr::new_truncate(frame.stack_pointer), ..place(frame) };
        if !trap::check_room_to_preempt::<S>(Aarch64::PREEMPT_STACK_BYTES, &place) {
            return frame;
        }
        frame.stack_pointer
    };
    let stack_pointer = VirtAddr::new_truncate(below);
    trap::make_room_to_preempt::<S>(stack_pointer, Aarch64::PREEMPT_STACK_BYTES, &place(frame));
    // No red zone: the target has none, so what lies below the stack pointer is free.
    let to = ((below & !0xf) - size_of::<TrapFrame>() as u64) as *mut TrapFrame;
    trap::will_touch::<S>(VirtAddr::new_truncate(to as u64), size_of::<TrapFrame>() as u64);
    // SAFETY: the thread's stack is populated there, and the thread stands still.
    unsafe { to.write(frame.clone()) };
    to
}

fn place(frame: &TrapFrame) -> Place {
    Place {
        address: VirtAddr::new_truncate(frame.address),
        instruction: VirtAddr::new_truncate(frame.instruction),
        stack_pointer: VirtAddr::new_truncate(frame.stack_pointer),
        // What user mode has there, no report of the kernel's follows: PAN would forbid it.
        frame_pointer: VirtAddr::new_truncate(if frame.in_user_mode() { 0 } else { frame.x[29] }),
    }
}

fn place_in_handler(stack_pointer: u64, frame_pointer: u64) -> Place {
    Place {
        address: VirtAddr::new_truncate(FAR_EL1.get()),
        instruction: VirtAddr::new_truncate(ELR_EL1.get()),
        stack_pointer: VirtAddr::new_truncate(stack_pointer),
        frame_pointer: VirtAddr::new_truncate(frame_pointer),
    }
}
