//! The frame allocator: who owns which physical page.
//!
//! Boot hands over ranges of RAM. Frames are first cut from the ranges; a frame that comes back is linked into a
//! free list through its own first word (seen in the direct map), so both directions take constant time however
//! many frames there are, and the allocator itself needs no memory.
#![expect(unsafe_code, reason = "free frames are linked through their own memory")]

use core::num::NonZeroU64;

use align_address::Align;
use heapless::Vec;
use memory_addresses::PhysAddr;

use crate::arch::PAGE_BYTES;
use crate::boot::{MAX_MEMORY_REGIONS, MemoryRegion};
use crate::memory::window::Window;

/// Most ranges that can be left after everything reserved is cut out of the memory map.
const MAX_RANGES: usize = MAX_MEMORY_REGIONS + 8;

/// Where frames are, in frames of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// All frames that the allocator ever had.
    pub total: usize,
    /// Those that are free.
    pub free: usize,
}

/// Which calls find no frame though there are some: for tests of what becomes of a failure, wherever it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// None.
    #[default]
    Never,
    /// The one of this number, from 1.
    Nth(NonZeroU64),
    /// Each whose number is a multiple of this.
    Every(NonZeroU64),
}

impl Refusal {
    fn is_for(self, call: u64) -> bool {
        match self {
            Self::Never => false,
            Self::Nth(number) => call == number.get(),
            Self::Every(number) => call % number == 0,
        }
    }
}

/// Hands out frames.
#[derive(Debug)]
pub struct FrameAllocator {
    /// Where frames can be touched.
    window: Window,
    /// Ranges that were never handed out.
    ranges: Vec<MemoryRegion, MAX_RANGES>,
    /// The first free frame of the list, or 0: frame 0 is never handed out.
    list: u64,
    counts: FrameCounts,
    refusal: Refusal,
    /// Calls of `allocate` since the refusal was set.
    calls: u64,
}

impl FrameAllocator {
    /// Creates an allocator without frames, which reaches those that it is given through `window`.
    pub const fn new(window: Window) -> Self {
        let counts = FrameCounts { total: 0, free: 0 };
        Self { window, ranges: Vec::new(), list: 0, counts, refusal: Refusal::Never, calls: 0 }
    }

    /// Reaches frames through `window` from now on.
    pub(crate) fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Adds the whole frames of `region`, without those that overlap `reserved`.
    ///
    /// Returns whether there was room to note the range.
    ///
    /// # Safety
    ///
    /// The region is RAM that nothing uses but `reserved`, and it is (or will be, before a frame of it is freed)
    /// reachable through the direct map.
    pub unsafe fn add(&mut self, region: MemoryRegion, reserved: &[MemoryRegion]) -> bool {
        let start = region.start.align_up(PAGE_BYTES).max(PhysAddr::new(PAGE_BYTES));
        let end = region.end.align_down(PAGE_BYTES);
        if start >= end {
            return true;
        }
        let whole = MemoryRegion { start, end };
        let Some(cut) = reserved.iter().find(|r| r.start < end && start < r.end) else {
            let frames = ((end - start) / PAGE_BYTES) as usize;
            let noted = self.ranges.push(whole).is_ok();
            if noted {
                self.counts.total += frames;
                self.counts.free += frames;
            }
            return noted;
        };
        // SAFETY: both parts belong to a region for which the caller vouched.
        let below = unsafe { self.add(MemoryRegion { start, end: cut.start.min(end) }, reserved) };
        // SAFETY: as above.
        let above = unsafe { self.add(MemoryRegion { start: cut.end.max(start), end }, reserved) };
        below && above
    }

    /// Takes a frame. Its content is whatever was there.
    pub fn allocate(&mut self) -> Option<PhysAddr> {
        self.calls += 1;
        if self.refusal.is_for(self.calls) {
            return None;
        }
        let frame = match PhysAddr::new(self.list) {
            head if self.list != 0 => {
                // SAFETY: `deallocate` wrote the link there and the frame has been free since.
                self.list = unsafe { self.window.pointer::<u64>(head).read() };
                head
            }
            _ => self.cut()?,
        };
        self.counts.free -= 1;
        Some(frame)
    }

    /// From now on the calls that `refusal` means find no frame. Returns how many calls there were since this was set
    /// last.
    pub fn refuse(&mut self, refusal: Refusal) -> u64 {
        self.refusal = refusal;
        core::mem::take(&mut self.calls)
    }

    /// How many calls found no frame because of the refusal.
    pub fn refused(&self) -> u64 {
        match self.refusal {
            Refusal::Never => 0,
            Refusal::Nth(number) => u64::from(self.calls >= number.get()),
            Refusal::Every(number) => self.calls / number,
        }
    }

    /// Runs `f` as if nothing was refused, and does not count its calls.
    pub(crate) fn without_refusals<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = (core::mem::take(&mut self.refusal), self.calls);
        let result = f(self);
        (self.refusal, self.calls) = before;
        result
    }

    /// Takes a frame if more than `keep` are free.
    pub fn allocate_above(&mut self, keep: usize) -> Option<PhysAddr> {
        if self.counts.free > keep { self.allocate() } else { None }
    }

    /// Gives a frame back.
    ///
    /// # Safety
    ///
    /// It came from [`FrameAllocator::allocate`], and nothing refers to it: no entry of a page table, no TLB.
    pub unsafe fn deallocate(&mut self, frame: PhysAddr) {
        // SAFETY: the frame is ours again and the direct map covers it.
        unsafe { self.window.pointer::<u64>(frame).write(self.list) };
        self.list = frame.as_u64();
        self.counts.free += 1;
    }

    /// Takes in a frame that was never counted.
    ///
    /// # Safety
    ///
    /// As [`FrameAllocator::deallocate`], but that the frame came from elsewhere.
    pub unsafe fn adopt(&mut self, frame: PhysAddr) {
        self.counts.total += 1;
        // SAFETY: the caller's promise.
        unsafe { self.deallocate(frame) };
    }

    /// Takes a frame that ends at or below `limit` and was never handed out, for good: it no longer counts as one of the
    /// allocator's.
    pub fn withdraw_below(&mut self, limit: PhysAddr) -> Option<PhysAddr> {
        let at = self.ranges.iter().position(|range| range.start + PAGE_BYTES <= limit)?;
        let range = &mut self.ranges[at];
        let frame = range.start;
        range.start = frame + PAGE_BYTES;
        if range.start == range.end {
            self.ranges.remove(at);
        }
        self.counts.total -= 1;
        self.counts.free -= 1;
        Some(frame)
    }

    /// Runs `f` on every free frame.
    pub(crate) fn for_each_free(&self, mut f: impl FnMut(PhysAddr)) {
        for range in &self.ranges {
            let frames = (range.start.as_u64()..range.end.as_u64()).step_by(PAGE_BYTES as usize);
            frames.map(PhysAddr::new).for_each(&mut f);
        }
        let mut frame = self.list;
        while frame != 0 {
            f(PhysAddr::new(frame));
            // SAFETY: `deallocate` wrote the link there and the frame has been free since.
            frame = unsafe { self.window.pointer::<u64>(PhysAddr::new(frame)).read() };
        }
    }

    /// How many frames there are.
    pub fn counts(&self) -> FrameCounts {
        self.counts
    }

    /// The next frame that was never handed out: from the last range, which is the highest one on PCs, so that
    /// low memory stays for devices and secondary CPUs.
    fn cut(&mut self) -> Option<PhysAddr> {
        let range = self.ranges.last_mut()?;
        let frame = range.start;
        range.start = PhysAddr::new(frame.as_u64() + PAGE_BYTES);
        if range.start == range.end {
            self.ranges.pop();
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64) -> MemoryRegion {
        MemoryRegion { start: PhysAddr::new(start), end: PhysAddr::new(end) }
    }

    #[repr(align(4096))]
    struct Ram([u8; 16 * 4096]);

    /// Sixteen frames of RAM that start at physical address 0.
    fn ram() -> Window {
        let ram = Box::leak(Box::new(Ram([0xaa; 16 * 4096])));
        Window::new(memory_addresses::VirtAddr::from_ptr(&raw const ram.0))
    }

    #[test]
    fn hands_out_every_frame_once_and_takes_it_back() {
        let mut frames = FrameAllocator::new(ram());
        // SAFETY: the sixteen frames are the test's own.
        assert!(unsafe { frames.add(region(0, 16 * 4096), &[region(0x4800, 0x6100)]) });
        // Frame 0 is never handed out; 4, 5 and 6 are reserved in part.
        assert_eq!(frames.counts(), FrameCounts { total: 12, free: 12 });
        let mut all: std::vec::Vec<u64> = core::iter::from_fn(|| frames.allocate()).map(|f| f.as_u64()).collect();
        assert_eq!(frames.counts().free, 0);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|f| ![0, 4, 5, 6].contains(&(f / 4096))));
        for &frame in &all {
            // SAFETY: it was handed out above and nothing refers to it.
            unsafe { frames.deallocate(PhysAddr::new(frame)) };
        }
        assert_eq!(frames.counts().free, 12);
        assert_eq!(frames.allocate_above(12), None);
        assert!(frames.allocate_above(11).is_some());
    }

    #[test]
    fn withdraws_low_frames_for_good() {
        let mut frames = FrameAllocator::new(ram());
        // SAFETY: the sixteen frames are the test's own.
        assert!(unsafe { frames.add(region(8 * 4096, 10 * 4096), &[]) });
        // SAFETY: as above.
        assert!(unsafe { frames.add(region(2 * 4096, 4 * 4096), &[]) });
        let limit = PhysAddr::new(9 * 4096);
        let withdrawn = core::array::from_fn(|_| frames.withdraw_below(limit).map(|frame| frame.as_u64() / 4096));
        assert_eq!(withdrawn, [Some(8), Some(2), Some(3), None]);
        assert_eq!(frames.counts(), FrameCounts { total: 1, free: 1 });
        assert_eq!(frames.allocate(), Some(PhysAddr::new(9 * 4096)));
        assert_eq!(frames.allocate(), None);
    }

    #[test]
    fn refuses_the_calls_that_it_is_told_to_and_loses_no_frame() {
        let mut frames = FrameAllocator::new(ram());
        // SAFETY: the sixteen frames are the test's own.
        assert!(unsafe { frames.add(region(0, 16 * 4096), &[]) });
        let given = |frames: &mut FrameAllocator| core::array::from_fn(|_| frames.allocate().is_some());
        assert_eq!(frames.refuse(Refusal::Nth(2.try_into().unwrap())), 0);
        assert_eq!(given(&mut frames), [true, false, true, true]);
        assert_eq!(frames.refuse(Refusal::Every(2.try_into().unwrap())), 4);
        assert_eq!(given(&mut frames), [true, false, true, false]);
        assert_eq!(frames.refuse(Refusal::Never), 4);
        assert_eq!(given(&mut frames), [true; 4]);
        assert_eq!(frames.counts(), FrameCounts { total: 15, free: 15 - 9 });
    }

    #[test]
    fn who_is_spared_is_neither_refused_nor_counted() {
        let mut frames = FrameAllocator::new(ram());
        // SAFETY: the sixteen frames are the test's own.
        assert!(unsafe { frames.add(region(0, 16 * 4096), &[]) });
        frames.refuse(Refusal::Every(2.try_into().unwrap()));
        assert!(frames.allocate().is_some());
        assert!(frames.without_refusals(FrameAllocator::allocate).is_some());
        assert_eq!((frames.refused(), frames.allocate()), (0, None));
        assert_eq!((frames.refused(), frames.allocate().is_some(), frames.allocate()), (1, true, None));
        assert_eq!(frames.refused(), 2);
        frames.refuse(Refusal::Nth(2.try_into().unwrap()));
        assert_eq!((frames.allocate().is_some(), frames.refused()), (true, 0));
        assert_eq!((frames.allocate(), frames.allocate().is_some(), frames.refused()), (None, true, 1));
    }
}
