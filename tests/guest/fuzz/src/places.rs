//! Numbers that a call may be confused by: addresses of all kinds, lengths, and what lies next to a border.

use fastrand::Rng;

use ebbtide::user::WINDOW_BYTES;

use crate::plan::Plan;

/// Where the memory of user mode begins and ends, and the kernel's ranges: direct map, heap, stacks, devices.
const USER: u64 = 0x4000_0000_0000;
const USER_END: u64 = USER + (1 << 39);
const KERNEL: [u64; 4] = [0xffff_8000_0000_0000, 0xffff_9000_0000_0000, 0xffff_a000_0000_0000, 0xffff_b000_0000_0000];

const PAGE_BYTES: u64 = 4096;

/// Bytes that are no text, which user mode can read and nobody writes.
pub static NO_TEXT: [u8; 2 * PAGE_BYTES as usize] = [0xff; 2 * PAGE_BYTES as usize];

/// Where numbers are drawn.
pub struct Places<'a> {
    pub rng: Rng,
    pub plan: &'a Plan,
    /// Behind the last page of the thread's heap; 0 if it has none.
    pub heap_end: u64,
}

impl Places<'_> {
    pub fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(0..from.len())]
    }

    /// An address that user mode cannot read, whatever the length: unless that is 0, and even then it is none of its own.
    pub fn unreadable(&mut self) -> u64 {
        match self.rng.u8(0..10) {
            0 => self.rng.u64(0..PAGE_BYTES),
            1 | 2 => self.pick(&self.plan.kernel.clone()) ^ self.rng.u64(0..8),
            3 => self.pick(&KERNEL) + self.rng.u64(0..1 << 24),
            4 => self.pick(&KERNEL) + self.rng.u64(0..1 << 40),
            // Between the halves.
            5 => self.rng.u64(0x0000_8000_0000_0000..0xffff_8000_0000_0000),
            6 => 0u64.wrapping_sub(self.rng.u64(1..PAGE_BYTES)),
            7 => USER - self.rng.u64(1..PAGE_BYTES),
            8 => USER_END - WINDOW_BYTES + self.rng.u64(0..2 * WINDOW_BYTES),
            _ => 0x7fff_ffff_f000 - self.rng.u64(0..1 << 30),
        }
    }

    /// A range that begins in the thread's memory and ends outside of it. Nothing of it is read.
    pub fn straddling(&mut self) -> (u64, u64) {
        let before = self.rng.u64(1..16);
        match self.heap_end {
            0 => (self.unreadable(), 1),
            end => (end - before, self.rng.u64(before + 1..64)),
        }
    }

    /// An address in the image: code, constants, data, or what lies around them.
    pub fn in_image(&mut self) -> u64 {
        let base = self.pick(&[(&raw const NO_TEXT).addr(), Self::in_image as *const () as usize]) as u64;
        match self.rng.u8(0..3) {
            0 => base,
            1 => (base & !(PAGE_BYTES - 1)).wrapping_add_signed(self.rng.i64(-8..8)),
            _ => base.wrapping_add_signed(self.rng.i64(-0x20_0000..0x20_0000)),
        }
    }

    /// A length: small, around a page, so large that a sum with an address wraps.
    pub fn length(&mut self) -> u64 {
        match self.rng.u8(0..6) {
            0 => 0,
            1 => self.rng.u64(1..64),
            2 => PAGE_BYTES.wrapping_add_signed(self.rng.i64(-2..2)),
            3 => 1 << self.rng.u32(0..64),
            4 => 0u64.wrapping_sub(self.rng.u64(1..PAGE_BYTES)),
            _ => self.rng.u64(..),
        }
    }

    /// Anything.
    pub fn any(&mut self) -> u64 {
        match self.rng.u8(0..12) {
            0 | 1 => self.rng.u64(0..64),
            2 => self.own(),
            3 => self.in_image(),
            4 | 5 => self.unreadable(),
            6 => self.straddling().0,
            7 => self.length(),
            8 => (1 << self.rng.u32(0..64)) - 1,
            9 => self.pick(&self.plan.others.clone()),
            _ => self.rng.u64(..),
        }
    }

    /// An address in the memory of user mode: this thread's stack, or somebody's heap.
    pub fn own(&mut self) -> u64 {
        let here = 0_u64;
        match self.rng.u8(0..3) {
            0 => (&raw const here).addr() as u64,
            1 => (&raw const here).addr() as u64 & !(PAGE_BYTES - 1),
            _ => USER + self.rng.u64(0..64 * WINDOW_BYTES),
        }
    }
}
