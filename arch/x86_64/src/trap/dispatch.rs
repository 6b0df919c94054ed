//! What a vector means.
#![expect(unsafe_code, reason = "reads and moves trap frames")]

use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use ebbtide_core::arch::{Cpu, Switch, UserContext};
use ebbtide_core::report::Place;
use ebbtide_core::user::float;
use ebbtide_core::{Platform, System, VirtAddr, report, trap};
use x86_64::registers::control::Cr2;
use x86_64::registers::rflags::RFlags;
use x86_64::structures::idt::PageFaultErrorCode;

use super::entry::{DEPTH, Header, TrapFrame};
use crate::{X86_64, provoke, user};

/// Exceptions that the code treats by name.
mod vector {
    pub const NMI: u64 = 2;
    pub const BREAKPOINT: u64 = 3;
    pub const NO_FLOAT: u64 = 7;
    pub const DOUBLE_FAULT: u64 = 8;
    pub const PAGE_FAULT: u64 = 14;
    pub const MACHINE_CHECK: u64 = 18;
    pub const FIRST_INTERRUPT: u64 = 32;
}

/// The exceptions' names, as the SDM has them (volume 3, table 6-1).
const NAMES: [&str; 22] = [
    "divide error",
    "debug exception",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack-segment fault",
    "general protection",
    "page fault",
    "reserved exception",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point exception",
    "virtualization exception",
    "control protection exception",
];

/// Handles a trap, on its trap stack with interrupts off. Returns the frame to resume from: the one given, or one
/// that was moved to the interrupted thread's stack because it is to be preempted.
///
/// # Safety
///
/// Called by the entry code alone, with the frame that it has built.
pub(crate) unsafe extern "C" fn dispatch<S: System>(frame: *mut TrapFrame) -> *mut TrapFrame {
    // SAFETY: the entry code built it right here, and nobody else looks at it.
    let trap = unsafe { &mut *frame };
    let in_user_mode = trap.in_user_mode();
    trap::came::<S>(trap.vector, || (!trap.in_user_mode()).then(|| place(trap, VirtAddr::new(0))));
    match trap.vector {
        vector::FIRST_INTERRUPT.. => {
            let preempt = trap::interrupt::<S>(trap.vector as u32);
            if preempt && RFlags::from_bits_truncate(trap.rflags).contains(RFlags::INTERRUPT_FLAG) {
                return move_to_thread::<S>(trap);
            }
        }
        vector::NMI => {
            if !provoke::note_unmaskable::<S>(trap.rip) {
                trap::note::<S>(format_args!("non-maskable interrupt at {:#x}", trap.rip));
            }
            provoke::count_unmaskable::<S>();
        }
        vector::BREAKPOINT if !in_user_mode => trap::note::<S>(format_args!("breakpoint at {:#x}", trap.rip)),
        vector::DOUBLE_FAULT => {
            trap::report_overflow::<S>(fault_address(), &place(trap, fault_address()));
            report::exception::<S>("double fault", &place(trap, fault_address()));
        }
        vector::MACHINE_CHECK => report::exception::<S>(Exception(trap), &place(trap, fault_address())),
        vector::NO_FLOAT if in_user_mode && begin_float() => {}
        _ if in_user_mode => return move_to_thread::<S>(trap),
        vector::PAGE_FAULT => {
            let tried = Tried(PageFaultErrorCode::from_bits_truncate(trap.error_code));
            let place = place(trap, fault_address());
            if trap::grow_stack::<S>(tried.absent(), &place) {
                return frame;
            }
            if let Some(behind) = user::mended(trap.rip) {
                trap.rip = behind;
                return frame;
            }
            trap::page_fault::<S>(&tried, tried.absent(), &place);
        }
        _ => report::exception::<S>(Exception(trap), &place(trap, fault_address())),
    }
    frame
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
    let is_interrupt = trap.vector >= vector::FIRST_INTERRUPT;
    if is_interrupt && !(trap.in_user_mode() && user_context().has_float.get()) {
        trap::preempt::<S>(|| place(trap, VirtAddr::new(0)));
    } else {
        from_user_mode::<S>(trap);
    }
}

/// That of the running thread, which the trap found in user mode.
fn user_context() -> &'static UserContext {
    // SAFETY: only a thread that has one is ever there.
    unsafe { UserContext::running::<X86_64>() }
}

/// The running thread has trapped in user mode because it has no floating-point registers, or none that are open. Returns whether
/// it has them now.
fn begin_float() -> bool {
    // SAFETY: it goes back there with interrupts off, or this does nothing.
    unsafe { float::first_use::<X86_64>(user_context()) }
}

/// The same where it is more than a preemption: it has done what it must not do, or has floating-point registers to keep.
#[cold]
#[inline(never)]
fn from_user_mode<S: System>(trap: &TrapFrame) {
    let context = user_context();
    // SAFETY: the trap has not switched, and stores them here alone.
    let has_float = unsafe { float::store::<X86_64>(context) };
    match trap.vector {
        vector::FIRST_INTERRUPT.. => trap::preempt::<S>(|| place(trap, VirtAddr::new(0))),
        vector::PAGE_FAULT => {
            let (address, tried) = (fault_address(), Tried(PageFaultErrorCode::from_bits_truncate(trap.error_code)));
            (context.fault)(&format_args!("page fault ({tried}) at address {address:#x}"), &place(trap, address))
        }
        _ => (context.fault)(&Exception(trap), &place(trap, VirtAddr::new(0))),
    }
    if has_float {
        // SAFETY: interrupts are off behind a preemption, and the thread goes to user mode.
        unsafe { float::load::<X86_64>(context) };
    }
}

/// A trap came while another one stood on the same trap stack: reports it, from the #DF stack.
///
/// # Safety
///
/// Called by the entry code alone, with what the stub and the CPU have pushed, and the frame pointer as it was.
pub(crate) unsafe extern "C" fn nested<S: System>(pushed: *const Pushed, frame_pointer: u64) -> ! {
    // SAFETY: the stub and the CPU pushed it right now.
    let pushed = unsafe { &*pushed };
    match pushed.depth {
        ..=2 => {}
        // Not even the report of the nested trap got through.
        3 => report::end::<S>(report::End::Exception),
        // Nor did the last line: the run ends without one.
        4 => S::Platform::exit(report::End::Exception.code()),
        _ => X86_64::halt(),
    }
    let address = fault_address();
    let place = Place {
        address,
        instruction: VirtAddr::new_truncate(pushed.rip),
        stack_pointer: VirtAddr::new_truncate(pushed.rsp),
        frame_pointer: VirtAddr::new_truncate(frame_pointer),
    };
    if pushed.vector == vector::PAGE_FAULT {
        trap::count_stack_fault::<S>(address);
        trap::report_overflow::<S>(address, &place);
    }
    let name = name(pushed.vector);
    report::exception::<S>(format_args!("{name} in the handler of another one (touched {address:#x})"), &place)
}

/// What is on a trap stack before the common part has pushed anything.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pushed {
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
    /// The first word of the stack's [`Header`]; the header itself would be moved to its alignment here.
    depth: u64,
}

const _: () = assert!(offset_of!(Header, depth) == 0 && offset_of!(Pushed, depth) == DEPTH);

/// Copies the frame to the kernel stack of the interrupted thread, once it is sure that everything fits there, and leaves
/// the trap stack. Returns the frame as it is if there is no room, and the thread goes on.
fn move_to_thread<S: System>(frame: &mut TrapFrame) -> *mut TrapFrame {
    let below = if frame.in_user_mode() {
        // The kernel stack of a thread in user mode is all but empty.
        user_context().stack_pointer.load(Ordering::Relaxed)
    } else {
        let place = place(frame, VirtAddr::new_truncate(frame.rsp));
        if !trap::check_room_to_preempt::<S>(X86_64::PREEMPT_STACK_BYTES, &place) {
            return frame;
        }
        frame.rsp
    };
    let stack_pointer = VirtAddr::new_truncate(below);
    trap::make_room_to_preempt::<S>(stack_pointer, X86_64::PREEMPT_STACK_BYTES, &place(frame, stack_pointer));
    // No red zone: the target disables it, so what lies below the stack pointer is free.
    let to = ((below & !0xf) - size_of::<TrapFrame>() as u64) as *mut TrapFrame;
    // SAFETY: the thread's stack is populated there, and the thread stands still.
    unsafe { to.write(frame.clone()) };
    let header = core::ptr::from_mut(frame).wrapping_add(1).cast::<Header>();
    // SAFETY: the header lies right above the frame.
    unsafe { (*header).depth -= 1 };
    to
}

fn place(frame: &TrapFrame, address: VirtAddr) -> Place {
    Place {
        address,
        instruction: VirtAddr::new_truncate(frame.rip),
        stack_pointer: VirtAddr::new_truncate(frame.rsp),
        frame_pointer: VirtAddr::new_truncate(frame.rbp),
    }
}

fn fault_address() -> VirtAddr {
    VirtAddr::new_truncate(Cr2::read_raw())
}

fn name(vector: u64) -> &'static str {
    NAMES.get(vector as usize).copied().unwrap_or("exception")
}

/// What an access tried, from a page fault's error code.
struct Tried(PageFaultErrorCode);

impl Tried {
    fn absent(&self) -> bool {
        !self.0.contains(PageFaultErrorCode::PROTECTION_VIOLATION)
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0;
        f.write_str(if code.contains(PageFaultErrorCode::INSTRUCTION_FETCH) {
            "execution"
        } else if code.contains(PageFaultErrorCode::CAUSED_BY_WRITE) {
            "write"
        } else {
            "read"
        })?;
        f.write_str(if self.absent() { ", nothing is mapped there" } else { ", which is forbidden there" })
    }
}

/// An exception with its name and error code.
struct Exception<'a>(&'a TrapFrame);

impl fmt::Display for Exception<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (exception {}, error code {:#x})", name(self.0.vector), self.0.vector, self.0.error_code)
    }
}
