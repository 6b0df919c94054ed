//! What has to hold at every step, looked at from outside.

use std::sync::atomic::Ordering;

use ebbtide_core::arch::StackEntry;
use ebbtide_core::model;
use ebbtide_machine::entry;

use crate::books::Cpu;
use crate::world::World;

const PAGE_BYTES: u64 = ebbtide_core::arch::PAGE_BYTES;

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whereabouts {
    /// In this page of this thread's stack.
    Page(usize, usize),
    /// In the stack cache of this CPU.
    Cache(u32),
    /// Free.
    Free,
}

impl World {
    /// What the entry of a page says.
    pub fn page(&self, thread: usize, page: usize) -> StackEntry {
        entry::decode_stack(self.entries[thread][page].load(Ordering::Relaxed))
    }

    /// All pages: of which thread, which, and what its entry says.
    fn all_pages(&self) -> impl Iterator<Item = (usize, usize, StackEntry)> + '_ {
        let pages = |thread| (0..self.pages[thread]).map(move |page| (thread, page));
        (0..self.threads.len()).flat_map(pages).map(|(thread, page)| (thread, page, self.page(thread, page)))
    }

    /// Runs `f` on each translation that a TLB could take and does not know: CPU, thread, page, frame.
    pub fn for_each_fill(&self, mut f: impl FnMut(usize, usize, usize, u64)) {
        for (thread, page, what) in self.all_pages() {
            let StackEntry::Present { frame } = what else { continue };
            for (number, cpu) in self.books.cpus.iter().enumerate() {
                if cpu.walks.get() && cpu.tlb[thread][page].get() != frame.as_u64() {
                    f(number, thread, page, frame.as_u64());
                }
            }
        }
    }

    /// Notes which frames the pages of new threads have.
    pub fn remember_frames(&self) {
        (0..self.threads.len()).for_each(|thread| self.remember_frames_of(thread));
    }

    /// Notes which frames the pages of a thread have that has touched more of them.
    pub fn remember_frames_of(&self, thread: usize) {
        for page in 0..self.pages[thread] {
            if let StackEntry::Present { frame } = self.page(thread, page) {
                self.books.threads[thread].frames[page].set(frame.as_u64());
            }
        }
    }

    /// Pages that a thread needs that goes on: all that it may touch before anybody gives it more.
    fn needed_pages(&self, thread: usize) -> usize {
        if self.grows_on_fault || self.books.threads[thread].is_in_user_mode.get() {
            self.live_pages(thread)
        } else {
            self.pages[thread]
        }
    }

    /// A thread goes on: all of its stack is there that it needs. What it has now it keeps for as long as it may touch it.
    pub fn check_switch_in(&self, thread: usize) {
        self.remember_absent(thread);
        for page in 0..self.needed_pages(thread) {
            match self.page(thread, page) {
                StackEntry::Present { frame } => {
                    let frames = &self.books.threads[thread].frames;
                    if page < self.live_pages(thread) && frames[page].get() != frame.as_u64() {
                        self.broken(format!("live page {page} of {} has another frame", self.name(thread)));
                    }
                    frames[page].set(frame.as_u64());
                }
                what => self.broken(format!("page {page} of {} is {what:?} when it goes on", self.name(thread))),
            }
        }
    }

    /// Beyond what it needs a thread may have pages as well.
    fn remember_absent(&self, thread: usize) {
        for page in self.needed_pages(thread)..self.pages[thread] {
            self.books.threads[thread].frames[page].set(0);
        }
    }

    fn live_pages(&self, thread: usize) -> usize {
        self.books.threads[thread].depth.get().div_ceil(PAGE_BYTES).max(1) as usize
    }

    fn present_pages(&self, thread: usize) -> usize {
        (0..self.pages[thread]).filter(|page| matches!(self.page(thread, *page), StackEntry::Present { .. })).count()
    }

    /// Looks at everything.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.check_queues()?;
        self.check_who_halts()?;
        self.check_frames()?;
        self.check_pages()
    }

    /// A thread is in one queue or inbox at most, and in none while it runs; and it runs on one CPU. None is in the queue of a CPU
    /// that has halted.
    fn check_queues(&self) -> Result<(), String> {
        let mut places = vec![0; self.threads.len()];
        for cpu in 0..self.cpus.len() {
            places[self.books.cpus[cpu].runs.get() as usize] += 1;
            let mut length = 0;
            let mut is_endless = false;
            model::for_each_ready(self.cpus[cpu], |thread| {
                length += 1;
                is_endless |= length > 100;
                assert!(!is_endless, "a run queue that is a circle");
                places[self.number_of(thread)] += 1;
            });
            let stands = &self.books.cpus[cpu];
            if length > 0 && stands.halted.get() && stands.takes.get() == 0 {
                return Err(format!("CPU {cpu} has halted, and a thread is ready there"));
            }
            model::for_each_pushed(self.cpus[cpu], |thread| places[self.number_of(thread)] += 1);
        }
        (self.for_each_parked)(&mut |thread| places[self.number_of(thread)] += 1);
        match places.iter().position(|places| *places > 1) {
            Some(thread) => Err(format!("{} is in two places: queues, inboxes, or CPUs", self.name(thread))),
            None => Ok(()),
        }
    }

    /// Who halts last has looked whether that is the end: a timer may be armed for a time slice that is over, but nothing is to
    /// hang on that.
    fn check_who_halts(&self) -> Result<(), String> {
        let cpus = || self.books.cpus[..self.cpus.len()].iter();
        let nobody_looks = cpus().all(|cpu| cpu.halted.get() && cpu.ipis.get() == 0 && cpu.takes.get() == 0);
        if nobody_looks && (self.is_only_waited_for_frames)() {
            return Err("all CPUs have halted, a thread waits for frames, and no timer can end that".into());
        }
        Ok(())
    }

    /// A frame is in one place at most: in a page, in a CPU's stack cache, or free. Returns how many are somewhere.
    fn check_frames(&self) -> Result<usize, String> {
        let mut places: Vec<(u64, Whereabouts)> = Vec::with_capacity(2 * self.total_frames);
        for (thread, page, what) in self.all_pages() {
            if let StackEntry::Present { frame } | StackEntry::Resting { frame, .. } = what {
                places.push((frame.as_u64(), Whereabouts::Page(page, thread)));
            }
        }
        for cpu in &self.cpus {
            model::for_each_cached(cpu, |frame| places.push((frame.as_u64(), Whereabouts::Cache(cpu.number))));
        }
        self.for_each_free(|frame| places.push((frame, Whereabouts::Free)));
        places.sort_unstable();
        match places.windows(2).find(|two| two[0].0 == two[1].0) {
            Some(two) => {
                let frame = two[0].0 / PAGE_BYTES;
                Err(format!("frame {frame} is in two places: {:?} and {:?}", two[0].1, two[1].1))
            }
            None => Ok(places.len()),
        }
    }

    /// When a run has ended, every frame is in one place.
    pub fn check_no_frame_lost(&self) -> Result<(), String> {
        match self.check_frames()? {
            count if count == self.total_frames => Ok(()),
            count => Err(format!("{count} of {} frames are somewhere when the run has ended", self.total_frames)),
        }
    }

    /// Whoever could still go on when a run has ended was forgotten. Only a deadlock on memory for stacks (103) leaves
    /// threads behind that are ready, and then there is none for which all the frames would do that no live page has.
    pub fn check_verdict(&self, code: Option<u8>) -> Result<(), String> {
        let apps = self.threads.len() - self.cpus.len();
        let unfinished = || (0..apps).filter(|thread| !self.books.threads[*thread].finished.get());
        let ready = || unfinished().filter(|thread| !model::is_blocked(self.threads[*thread]));
        // What they hold for good: where nothing is taken at a switch, nothing that the model has takes it.
        let held = |thread| match self.rests_at_switch {
            true => self.live_pages(thread),
            false => self.present_pages(thread).max(self.live_pages(thread)),
        };
        let live: usize = unfinished().map(held).sum();
        let idle: usize = (apps..self.threads.len()).map(|thread| self.pages[thread]).sum();
        let rest = self.total_frames - idle - live;
        let lacks = |thread: usize| match self.pages[thread] - held(thread) {
            // The look at what is kept for faults asks for one more.
            lacks if self.grows_on_fault && lacks > 0 => lacks + 1,
            lacks => lacks,
        };
        match ready().find(|thread| lacks(*thread) <= rest) {
            Some(thread) => Err(format!("{} was left though it could go on", self.name(thread))),
            None if code == Some(103) && ready().next().is_none() => Err("nobody waits for frames".into()),
            None if code != Some(103) && ready().next().is_some() => Err("who waits for frames was not told of".into()),
            None => Ok(()),
        }
    }

    /// Live pages keep their frames, and what a TLB knows is so, or only rests.
    fn check_pages(&self) -> Result<(), String> {
        for (thread, page, what) in self.all_pages() {
            let name = || format!("page {page} of {}", self.name(thread));
            // All that who runs may touch: all of its stack, unless it is about to leave and done with the rest of it.
            let leaves = |cpu: &Cpu| self.rests_before_switch && !cpu.interrupts.get();
            let runs = |cpu: &Cpu| cpu.runs.get() == thread as u64 && !leaves(cpu);
            let runs = self.books.cpus[..self.cpus.len()].iter().any(runs);
            let books = &self.books.threads[thread];
            let must =
                runs && page < self.needed_pages(thread) || (page < self.live_pages(thread) && !books.finished.get());
            let keeps = books.frames[page].get();
            if must && !matches!(what, StackEntry::Present { frame } if frame.as_u64() == keeps) {
                return Err(format!("{} is live and had frame {}, and now it is {what:?}", name(), keeps / PAGE_BYTES));
            }
            let has = match what {
                StackEntry::Present { frame } | StackEntry::Resting { frame, .. } => frame.as_u64(),
                StackEntry::Empty => 0,
            };
            for (number, cpu) in self.books.cpus.iter().enumerate() {
                let known = cpu.tlb[thread][page].get();
                if known != 0 && known != has {
                    let frame = known / PAGE_BYTES;
                    return Err(format!(
                        "frame {frame} has left {}, and the TLB of CPU {number} maps it there",
                        name()
                    ));
                }
            }
        }
        Ok(())
    }
}
