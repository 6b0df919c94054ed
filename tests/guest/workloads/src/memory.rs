//! Where the memory of stacks is: by a walk of the page tables, in KiB.

use alloc::string::String;
use core::fmt;

use ebbtide::stack::{self, Sample};
use ebbtide_figures::accounted;

/// KiB of a frame.
const FRAME_KIB: usize = 4;

/// KiB of stacks, of what is kept for them, and of their page tables; and what of the stacks has a live byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub stack: usize,
    pub cache: usize,
    pub table: usize,
    pub oracle: usize,
}

impl Memory {
    /// What is seen at this moment, whoever runs. Of a thread that runs on another CPU just now, `oracle` counts what was live when it last
    /// slept.
    pub fn now() -> Self {
        Self::of(&stack::sample())
    }

    /// What is seen once all threads sleep, of which there are to be so many, and the CPUs have been idle since.
    ///
    /// # Errors
    ///
    /// There are other threads, or a frame is not accounted for.
    pub fn at_rest(threads: usize) -> Result<Self, String> {
        stack::settle();
        let (_, sample) = accounted(threads)?;
        Ok(Self::of(&sample))
    }

    /// What is seen once all threads have ended, or all but so many: no thread, no page of its stack, no frame must be lost.
    ///
    /// # Errors
    ///
    /// One is.
    pub fn at_end(threads: usize) -> Result<Self, String> {
        let memory = Self::at_rest(threads)?;
        assert_eq!(memory.oracle == 0, threads == 0, "pages of stacks without a thread: {memory}");
        Ok(memory)
    }

    /// All that it takes to have these stacks.
    pub fn total(&self) -> usize {
        self.stack + self.cache + self.table
    }

    /// The same without the stacks that were there before.
    pub fn beside(self, before: &Self) -> Self {
        Self { stack: self.stack - before.stack, oracle: self.oracle - before.oracle, ..self }
    }

    fn of(sample: &Sample) -> Self {
        let kib = |frames: usize| FRAME_KIB * frames;
        Self {
            stack: kib(sample.stack),
            cache: kib(sample.cache),
            table: kib(sample.table),
            oracle: kib(sample.oracle),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, cache, table, oracle } = self;
        write!(f, "stack_kib={stack} cache_kib={cache} table_kib={table} oracle_kib={oracle}")
    }
}
