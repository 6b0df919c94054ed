//! RAM: host memory, seen through a window.
#![expect(unsafe_code, reason = "host memory that page tables name by number")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::AtomicU64;

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::boot::MemoryRegion;
use ebbtide_core::memory::window::Window;
use ebbtide_core::{PhysAddr, VirtAddr};

/// The machine's memory, from physical address 0.
#[derive(Debug)]
pub struct Ram {
    base: *mut u8,
    layout: Layout,
}

impl Ram {
    /// Creates RAM of `frames` frames of 4 KiB, all zero.
    ///
    /// # Panics
    ///
    /// There are no frames.
    pub fn new(frames: usize) -> Self {
        assert!(frames > 0, "a machine without RAM");
        let layout = Layout::from_size_align(frames * PAGE_BYTES as usize, PAGE_BYTES as usize).expect("a sane size");
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        Self { base, layout }
    }

    /// Where the kernel finds it.
    pub fn window(&self) -> Window {
        Window::new(VirtAddr::from_ptr(self.base))
    }

    /// All of it but the first frame, which no allocator hands out.
    pub fn region(&self) -> MemoryRegion {
        MemoryRegion { start: PhysAddr::new(PAGE_BYTES), end: PhysAddr::new(self.layout.size() as u64) }
    }

    /// The word at a physical address, or nothing if there is no RAM or the address is odd.
    pub fn word(&self, address: PhysAddr) -> Option<&AtomicU64> {
        let offset = address.as_u64() as usize;
        if offset + 8 > self.layout.size() || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: within the allocation.
        let word = unsafe { self.base.add(offset) };
        // SAFETY: aligned, alive as long as `self`, and everybody else takes words of RAM as atomics, or on this very
        // host thread.
        Some(unsafe { AtomicU64::from_ptr(word.cast()) })
    }

    /// The first `count` words of a frame.
    ///
    /// # Panics
    ///
    /// There is no such frame, or it is shorter.
    pub fn words(&self, frame: PhysAddr, count: usize) -> &[AtomicU64] {
        assert!(count <= 512, "a frame has 512 words");
        let first: *const AtomicU64 = self.word(frame).expect("a frame of RAM");
        // SAFETY: RAM is made of whole frames; see `word` for who else takes these words.
        unsafe { std::slice::from_raw_parts(first, count) }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: it was allocated so, and whoever knows the window has ended.
        unsafe { dealloc(self.base, self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_with_the_ram() {
        let ram = Ram::new(2);
        assert!(ram.word(PhysAddr::new(2 * PAGE_BYTES - 8)).is_some());
        assert!(ram.word(PhysAddr::new(2 * PAGE_BYTES)).is_none());
        assert!(ram.word(PhysAddr::new(4)).is_none());
    }
}
