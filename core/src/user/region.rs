//! The memory of a thread in user mode: a window of its own, which nothing crosses.
//!
//! ```text
//! window end    what the thread's own code keeps of its heap (heap.rs)
//!               its argument, its result
//!               stack, grows down; all of it is there from the beginning
//!               nothing: the guard
//!               heap, grows up, when it asks
//! window start
//! ```
//!
//! Windows are handed out again last-in first-out; their page tables stay. A frame comes clean, and leaves only when every CPU has
//! forgotten its address.
#![expect(unsafe_code, reason = "maps and unmaps the memory of user mode")]

use alloc::vec::Vec;
use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::Range;

use memory_addresses::VirtAddr;

use crate::arch::{Access, PAGE_BYTES};
use crate::cpu;
use crate::memory::admission;
use crate::memory::layout::{USER, USER_BYTES};
use crate::memory::unmap::unmap;
use crate::sync::SpinLock;
use crate::system::System;

/// Bytes of a window.
pub const WINDOW_BYTES: u64 = 16 << 20;

/// Bytes of stack in user mode when no other size is asked for.
pub const DEFAULT_STACK_BYTES: u64 = 32 << 10;

/// Most bytes of stack in user mode.
pub const MOST_STACK_BYTES: u64 = 1 << 20;

/// Bytes between heap and stack that are never mapped, at least.
const GUARD_BYTES: u64 = 64 << 10;

/// Frames that user mode leaves free, beside what is the stacks': for the kernel's heap and tables, which it makes grow.
const LEAVES_FREE: usize = 64;

/// There are no frames, or there is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMemory;

/// The windows that are in use, or have been.
struct Windows {
    /// Those from this number on were never used.
    used: u64,
    /// There is room for all that were.
    free: Vec<u64>,
}

static WINDOWS: SpinLock<Windows> = SpinLock::new(Windows { used: 0, free: Vec::new() });

impl Windows {
    fn take(&mut self) -> Option<u64> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.used;
        if number >= USER_BYTES / WINDOW_BYTES {
            return None;
        }
        // So that giving back needs no memory.
        self.free.try_reserve(number as usize + 1).ok()?;
        self.used += 1;
        Some(number)
    }
}

/// The memory of one thread. Only that thread changes it.
#[derive(Debug)]
pub(super) struct Region<S: System> {
    number: u64,
    /// Addresses of the stack, and of what lies above it.
    stack: Range<u64>,
    heap_end: Cell<u64>,
    system: PhantomData<fn() -> S>,
}

impl<S: System> Region<S> {
    /// Takes a window, with a stack of at least `stack_bytes` at its end.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn new(stack_bytes: u64) -> Result<Self, NoMemory> {
        let number = WINDOWS.with::<S, _>(Windows::take).ok_or(NoMemory)?;
        let start = USER + number * WINDOW_BYTES;
        let end = start + WINDOW_BYTES;
        let stack = end - stack_bytes.next_multiple_of(PAGE_BYTES)..end;
        // From here on it is given back, whatever of it there is.
        let region = Self { number, stack: stack.clone(), heap_end: Cell::new(start), system: PhantomData };
        region.map(stack)?;
        Ok(region)
    }

    /// Addresses of the stack, and of what lies above it.
    pub fn stack(&self) -> Range<u64> {
        self.stack.clone()
    }

    /// Says whether an address lies right below the stack.
    pub fn is_guard(&self, address: VirtAddr) -> bool {
        (self.stack.start - GUARD_BYTES..self.stack.start).contains(&address.as_u64())
    }

    /// Makes the heap larger by at least `bytes`; returns its new end.
    ///
    /// # Errors
    ///
    /// There is no memory: nothing has changed.
    pub fn grow(&self, bytes: u64) -> Result<u64, NoMemory> {
        let end = self.heap_end.get();
        let room = self.stack.start - GUARD_BYTES - end;
        if bytes > room {
            return Err(NoMemory);
        }
        let new_end = end + bytes.next_multiple_of(PAGE_BYTES);
        if self.map(end..new_end).is_err() {
            self.unmap(end..new_end);
            return Err(NoMemory);
        }
        self.heap_end.set(new_end);
        Ok(new_end)
    }

    fn map(&self, pages: Range<u64>) -> Result<(), NoMemory> {
        let frames = ((pages.end - pages.start) / PAGE_BYTES) as usize;
        // What is promised to stacks is none of user mode's, nor what it leaves free: else the kernel's heap could not grow.
        let claimed = admission::with_tables(frames) + LEAVES_FREE;
        admission::claim::<S>(claimed).map_err(|_| NoMemory)?;
        let mapped = pages.step_by(PAGE_BYTES as usize).map(VirtAddr::new).try_for_each(map_page::<S>);
        admission::give_up::<S>(claimed);
        mapped
    }

    fn unmap(&self, pages: Range<u64>) {
        cpu::without_preemption::<S, _>(|| unmap::<S>(pages, &S::kernel().accounts.user));
    }
}

impl<S: System> Drop for Region<S> {
    fn drop(&mut self) {
        self.unmap(USER + self.number * WINDOW_BYTES..self.heap_end.get());
        self.unmap(self.stack());
        WINDOWS.with::<S, _>(|windows| windows.free.push(self.number));
    }
}

fn map_page<S: System>(page: VirtAddr) -> Result<(), NoMemory> {
    let kernel = S::kernel();
    let keep = kernel.last_frames() + LEAVES_FREE;
    let frame = kernel.frames.with::<S, _>(|frames| frames.allocate_above(keep)).ok_or(NoMemory)?;
    // SAFETY: the frame is new. What it held was somebody else's.
    unsafe { kernel.window().clear(frame) };
    let mapped = kernel.with_tables::<S, _>(|tables, new_table| {
        // SAFETY: the page belongs to the window, which is the caller's, and is not mapped.
        unsafe { tables.map(page, frame, PAGE_BYTES, Access::UserReadWrite, 0, new_table) }
    });
    if mapped.is_err() {
        // SAFETY: it was not mapped.
        kernel.frames.with::<S, _>(|frames| unsafe { frames.deallocate(frame) });
        return Err(NoMemory);
    }
    kernel.accounts.user.add(1);
    Ok(())
}

const _: () = assert!(USER.is_multiple_of(USER_BYTES) && USER_BYTES.is_multiple_of(WINDOW_BYTES));
