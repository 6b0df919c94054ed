//! Frames are conserved.

use ebbtide_core::System;
use ebbtide_core::stack::sample;

use crate::machine::Machine;

impl Machine {
    /// Every frame is somewhere: free, a page table, in the stack range, or in a stack cache, of which none is beyond its bound.
    /// Called by a thread when all other CPUs wait.
    pub(crate) fn check_frames<S: System>(&self) {
        for cpu in self.kernel.cpus() {
            let (cached, bound) = (cpu.cached_frames(), self.kernel.settings.cache());
            self.require(cached <= bound, || format!("CPU {} has {cached} frames in its cache of {bound}", cpu.number));
        }
        let sample = sample::<S>();
        self.observe_all();
        let counts = self.kernel.frames.with::<S, _>(|frames| frames.counts());
        let (in_pages, tables) = (self.checks.borrow().pages.frames(), self.checks.borrow().pages.tables());
        self.require(tables == self.kernel.accounts.tables.get(), || {
            format!("there are {tables} page tables, {} were counted", self.kernel.accounts.tables.get())
        });
        // What the walk of the range counted beyond its pages are the stack caches.
        self.require(sample.range >= in_pages, || {
            format!("pages have {in_pages} frames, core counts {} with its caches", sample.range)
        });
        let used = counts.total - counts.free;
        let heap = self.kernel.accounts.heap.get();
        self.require(used == sample.range + tables + heap, || {
            format!(
                "{used} frames are not free: {in_pages} are in pages, {} in caches, {tables} are tables, {heap} heap",
                sample.range - in_pages
            )
        });
    }
}
