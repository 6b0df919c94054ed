//! Which way into the kernel a stack is used for, and the calls on it: for [`chains`](super::chains), in a run that asks for them
//! (`ebbtide.report=chains`).
//!
//! The owner of a stack knows it: a thread from its first function on, but for the time of a system call; what stands for a trap's stack
//! from when a trap comes. So whoever sees a stack need not know what is going on there.
//!
//! Calls are found by frame pointers, and read where physical memory is, so that no page counts as accessed that no thread has touched.
#![expect(unsafe_code, reason = "reads stacks")]

use core::fmt::{self, Write};
use core::hint::black_box;

use memory_addresses::VirtAddr;

use super::chains::{CallAt, Chains, Interrupted};
use super::{depth, interrupts};
use crate::arch::{Cpu, PAGE_BYTES};
use crate::console::Report;
use crate::cpu;
use crate::platform::{Interrupt, Ipi};
use crate::report::Place;
use crate::stack::{self, Slot};
use crate::system::System;
use crate::thread::Thread;
use crate::user::Call;

/// A way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// None of the others, or one that there was no room for.
    Other,
    /// A thread, with the address of its first function.
    Thread(u64),
    /// A thread of user mode outside of system calls, with the address of its first function there.
    User(u64),
    /// A system call, with its number.
    Call(u64),
    /// An exception, with its number on this machine.
    Trap(u64),
    /// An interrupt, with its place in [`INTERRUPTS`].
    Interrupt(u64),
}

/// Interrupts, by what they are for.
const INTERRUPTS: [&str; 6] = ["timer", "reschedule", "shootdown", "stop", "spurious", "unexpected"];

/// Where a way's kind begins in its key.
const KIND_SHIFT: u32 = 56;

impl Way {
    /// A number for it, above 0 but for [`Way::Other`].
    pub const fn key(self) -> u64 {
        let (kind, of) = match self {
            Self::Other => (0, 0),
            Self::Thread(function) => (1, function),
            Self::User(function) => (2, function),
            Self::Call(number) => (3, number),
            Self::Trap(number) => (4, number),
            Self::Interrupt(number) => (5, number),
        };
        kind << KIND_SHIFT | of & ((1 << KIND_SHIFT) - 1)
    }

    /// Kinds of ways.
    pub const KINDS: u64 = 6;

    /// The kind of the one with this number, from 0.
    pub const fn kind_of(key: u64) -> u64 {
        key >> KIND_SHIFT
    }

    /// What has this number.
    pub const fn of_key(key: u64) -> Self {
        let of = key & ((1 << KIND_SHIFT) - 1);
        match Self::kind_of(key) {
            1 => Self::Thread(of),
            2 => Self::User(of),
            3 => Self::Call(of),
            4 => Self::Trap(of),
            5 => Self::Interrupt(of),
            _ => Self::Other,
        }
    }

    const fn of(interrupt: Interrupt) -> Self {
        Self::Interrupt(match interrupt {
            Interrupt::Timer => 0,
            Interrupt::Ipi(Ipi::Reschedule) => 1,
            Interrupt::Ipi(Ipi::Shootdown) => 2,
            Interrupt::Ipi(Ipi::Stop) => 3,
            Interrupt::Spurious => 4,
            Interrupt::Unexpected(_) => 5,
        })
    }
}

impl fmt::Display for Way {
    /// As a report has it, for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Other => f.write_str("kind=other of=0"),
            Self::Thread(function) => write!(f, "kind=thread of={function:#x}"),
            Self::User(function) => write!(f, "kind=user of={function:#x}"),
            Self::Call(number) => match Call::from_number(number) {
                Some(call) => write!(f, "kind=call of={call:?}"),
                None => write!(f, "kind=call of={number}"),
            },
            Self::Trap(number) => write!(f, "kind=trap of={number}"),
            Self::Interrupt(number) => {
                write!(f, "kind=interrupt of={}", INTERRUPTS.get(number as usize).copied().unwrap_or("unknown"))
            }
        }
    }
}

/// Says whether this run asks for chains. All that is asked where a run does not: these places are hot, and what an audit does there
/// counts with the time without interrupts.
#[inline(always)]
fn are_kept<S: System>() -> bool {
    S::AUDIT && S::kernel().settings.reports_chains()
}

/// Where they are kept, once there is room for them.
fn chains<S: System>() -> Option<&'static Chains> {
    S::kernel().audit.kept().and_then(|kept| kept.chains.as_ref())
}

/// Runs the first function of a thread.
#[inline(always)]
pub(crate) fn first<S: System, F: FnOnce() -> T, T>(function: F) -> T {
    if S::AUDIT {
        let call: fn(F) -> T = call;
        begins::<S>(|| Way::Thread(call as usize as u64));
        call(function)
    } else {
        function()
    }
}

/// It has an address that names it, and a part of the stack for itself.
#[inline(never)]
fn call<F: FnOnce() -> T, T>(function: F) -> T {
    function()
}

/// The running thread's stack is used for this from now on.
#[inline(always)]
pub(crate) fn begins<S: System>(way: impl FnOnce() -> Way) {
    if are_kept::<S>() {
        let _before = change::<S>(way());
    }
}

/// The running thread has entered the kernel by a system call. Returns what its stack is used for when that is over.
#[inline(always)]
pub(crate) fn called<S: System>(number: u64) -> u32 {
    if are_kept::<S>() { change::<S>(Way::Call(number)) } else { 0 }
}

#[cold]
#[inline(never)]
fn change<S: System>(way: Way) -> u32 {
    let deepest = &cpu::current::<S>().deepest;
    let before = deepest.way::<S>();
    if let Some(chains) = chains::<S>() {
        deepest.set_way::<S>(chains.number_of(way));
    }
    before
}

/// The system call is over.
#[inline(always)]
pub(crate) fn returned<S: System>(outside: u32) {
    if are_kept::<S>() {
        cpu::current::<S>().deepest.set_way::<S>(outside);
    }
}

/// A trap has come, with this number. The caller is its handler, on the stack that it has.
#[inline(always)]
pub(crate) fn trapped<S: System>(number: u64) {
    if are_kept::<S>() {
        set_way_of_trap::<S>(Way::Trap(number));
    }
}

/// It is this interrupt. The caller is its handler.
#[inline(always)]
pub(crate) fn interrupted_by<S: System>(interrupt: Interrupt) {
    if are_kept::<S>() {
        set_way_of_trap::<S>(Way::of(interrupt));
        look_at_trap::<S>();
    }
}

/// The running thread is about to be preempted where a trap has interrupted it. Interrupts are off.
#[inline(always)]
pub(crate) fn preempts<S: System>(interrupted: impl FnOnce() -> Place) {
    if are_kept::<S>() {
        note_interrupted::<S>(Some(interrupted()));
    }
}

/// It goes on. Interrupts are off.
#[inline(always)]
pub(crate) fn preempted<S: System>() {
    if are_kept::<S>() {
        note_interrupted::<S>(None);
    }
}

#[cold]
#[inline(never)]
fn note_interrupted<S: System>(at: Option<Place>) {
    let Some(chains) = chains::<S>() else { return };
    match at {
        Some(at) => preempted_on::<S>(chains).set(at.instruction.as_u64(), at.stack_pointer.as_u64()),
        None => preempted_on::<S>(chains).clear(),
    }
}

fn preempted_on<S: System>(chains: &Chains) -> &Interrupted {
    &chains.preempts[S::Arch::per_cpu().number as usize]
}

/// The caller may be a trap's handler. If so, it is seen.
#[inline(always)]
pub(crate) fn seen_in_trap<S: System>() {
    if are_kept::<S>() {
        look_at_trap::<S>();
    }
}

/// What stands for the stack that the caller is on, if it is one for traps.
fn trap_stack<S: System>(stack_pointer: VirtAddr) -> Option<(Slot, &'static Thread)> {
    let (slot, owner) = stack::owner::<S>(stack_pointer)?;
    let owner = owner.filter(|owner| owner.is_system())?;
    S::Arch::per_cpu().current().filter(|running| !core::ptr::eq(*running, owner)).map(|_| (slot, owner))
}

#[cold]
#[inline(never)]
fn set_way_of_trap<S: System>(way: Way) {
    if let (Some(chains), Some((_, owner))) = (chains::<S>(), trap_stack::<S>(S::Arch::stack_pointer())) {
        owner.deepest.set_way::<S>(chains.number_of(way));
    }
}

#[cold]
#[inline(never)]
fn look_at_trap<S: System>() {
    look_at_trap_from::<S>(caller_of::<S>(own_frame::<S>()));
}

/// The same of a handler that stands at `at`.
pub(super) fn look_at_trap_from<S: System>(at: Option<Place>) {
    let cpu = S::Arch::per_cpu();
    if let (Some(chains), Some(at)) = (chains::<S>(), at)
        && let Some((slot, owner)) = trap_stack::<S>(at.stack_pointer)
    {
        interrupts::without_this::<S>(cpu, || offer::<S>(chains, slot, owner, &at));
    }
}

/// `thread` was seen at `at`, on its stack in `slot`.
#[inline(always)]
pub(super) fn seen<S: System>(thread: &Thread, slot: Slot, at: impl FnOnce() -> Option<Place>) {
    if are_kept::<S>()
        && let (Some(chains), Some(at)) = (chains::<S>(), at())
    {
        offer::<S>(chains, slot, thread, &at);
    }
}

fn offer<S: System>(chains: &Chains, slot: Slot, thread: &Thread, at: &Place) {
    let bytes = (slot.top() - at.stack_pointer) as u32;
    let interrupted = preempted_on::<S>(chains).get();
    chains.offer(thread.deepest.way::<S>(), thread, bytes, || calls::<S>(slot, at, interrupted));
}

/// The frame pointer of the function that this is a part of. It has its frame where it calls another one: before that, the compiler may
/// not have made one yet, and the register would be its caller's.
#[inline(always)]
pub(super) fn own_frame<S: System>() -> VirtAddr {
    be_called();
    S::Arch::frame_pointer()
}

#[inline(never)]
fn be_called() {
    black_box(());
}

/// Where the caller of a function stands that has this frame pointer, in a run that asks for chains.
pub(super) fn caller_of<S: System>(frame: VirtAddr) -> Option<Place> {
    if !are_kept::<S>() {
        return None;
    }
    let [frame_pointer, instruction] = read::<S>(frame)?;
    let stack_pointer = frame + FRAME_BYTES;
    Some(Place {
        address: stack_pointer,
        instruction: VirtAddr::new_truncate(instruction),
        stack_pointer,
        frame_pointer: VirtAddr::new_truncate(frame_pointer),
    })
}

/// Bytes at a frame pointer: the caller's, and where it goes on.
const FRAME_BYTES: u64 = 16;

/// The calls on the stack in `slot` that lead to `at`, the innermost first; as far as frame pointers lead, on this stack. The one that
/// was `interrupted` is among them: what goes on below it has its frame pointer, as if its caller had called that.
fn calls<S: System>(slot: Slot, at: &Place, interrupted: Option<(u64, u64)>) -> impl Iterator<Item = CallAt> {
    let depth = move |address: VirtAddr| (slot.top() - address) as u32;
    let mut interrupted = interrupted.map(|(instruction, begin)| (instruction, VirtAddr::new_truncate(begin)));
    let mut next = Some((at.instruction.as_u64(), at.stack_pointer, at.frame_pointer));
    core::iter::from_fn(move || {
        let (instruction, begin, frame) = next.take()?;
        let between = |(_, there): &mut (u64, VirtAddr)| begin < *there && *there <= frame;
        if let Some((interrupted, there)) = interrupted.take_if(between) {
            next = Some((interrupted, there, frame));
            return Some((instruction, depth(begin)));
        }
        // Stacks grow down: a caller's part lies above.
        if begin <= frame && frame <= slot.top() - FRAME_BYTES {
            next = read::<S>(frame)
                .filter(|[_, address]| *address != 0)
                .map(|[caller, address]| (address, frame + FRAME_BYTES, VirtAddr::new_truncate(caller)));
        }
        Some((instruction, depth(begin)))
    })
}

/// The two words at a frame pointer, if it is one on a stack.
fn read<S: System>(frame: VirtAddr) -> Option<[u64; 2]> {
    Slot::of(frame)?;
    if !frame.as_u64().is_multiple_of(8) {
        return None;
    }
    Some([read_word::<S>(frame)?, read_word::<S>(frame + 8_u64)?])
}

fn read_word<S: System>(address: VirtAddr) -> Option<u64> {
    let (page, level) = S::kernel().tables::<S>().translate(address)?;
    if level != 0 {
        return None;
    }
    let word = S::kernel().window().address(page) + (address.as_u64() & (PAGE_BYTES - 1));
    // SAFETY: it is mapped there, aligned, and whatever is on a stack can be read.
    Some(unsafe { word.as_ptr::<u64>().read_volatile() })
}

/// Says at the end of a run where its stacks went, if it was asked to.
#[inline(always)]
pub(crate) fn report<S: System>() {
    if are_kept::<S>()
        && let Some(chains) = chains::<S>()
    {
        // Who never left its CPU was not seen until now, as an app's only thread.
        depth::seen_here::<S>();
        let base = S::kernel().image_base();
        let _ = writeln!(Report::<S>::new(), "ebbtide: ways into the kernel: image={base:#x} {chains}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_ways_and_leads_back_to_it() {
        let ways = [Way::Thread(0x20_0000), Way::User(0x20_0000), Way::Call(0), Way::Trap(0), Way::Interrupt(0)];
        for (number, way) in ways.into_iter().enumerate() {
            assert_eq!(Way::of_key(way.key()), way);
            assert!(way.key() != 0 && ways[..number].iter().all(|other| other.key() != way.key()), "{way:?}");
        }
        assert_eq!(Way::of_key(0), Way::Other);
    }
}
