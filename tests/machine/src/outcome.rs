//! What a run came to.

use std::fmt;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The kernel ended it, with this code.
    Exit(u8),
    /// Core panicked.
    Panicked(String),
    /// The model found an invariant broken.
    Broken(String),
    /// Every CPU waits, and nothing will wake one.
    Hung,
}

/// What a run was.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What the kernel wrote to the console.
    pub console: String,
    /// Steps that it took.
    pub steps: u64,
    /// Calls of the frame allocator while [tasks](crate::Plan::run_tasks) ran.
    pub allocations: u64,
    /// How often an entry of a stack's page changed.
    pub changes: u64,
    /// How often a page was invalidated on a CPU.
    pub invalidations: u64,
}

impl Outcome {
    /// Takes a run that went well.
    ///
    /// # Panics
    ///
    /// It did not.
    #[track_caller]
    pub fn unwrap(self) -> Self {
        assert_eq!(self.end, End::Exit(0), "{self}");
        self
    }

    /// Takes a run in which core panicked with what `text` says.
    ///
    /// # Panics
    ///
    /// It did not, or said something else.
    #[track_caller]
    pub fn panicked(self, text: &str) -> Self {
        assert!(matches!(&self.end, End::Panicked(what) if what.contains(text)), "wanted \"{text}\": {self}");
        self
    }

    /// Takes a run that the kernel ended with `code`, with a report that contains `text`.
    ///
    /// # Panics
    ///
    /// It ended otherwise.
    #[track_caller]
    pub fn ended(self, code: u8, text: &str) -> Self {
        assert!(self.end == End::Exit(code) && self.console.contains(text), "wanted {code}, \"{text}\": {self}");
        self
    }

    /// Takes a run in which the model found what `text` says.
    ///
    /// # Panics
    ///
    /// It found something else, or nothing.
    #[track_caller]
    pub fn broken(self, text: &str) -> Self {
        assert!(matches!(&self.end, End::Broken(what) if what.contains(text)), "wanted \"{text}\": {self}");
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {} steps\n{}", self.end, self.steps, self.console)
    }
}
