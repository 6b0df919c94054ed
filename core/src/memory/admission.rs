//! Admission: who may have frames that others were promised.
//!
//! By default (`overcommit`) a thread has the frames that it uses, and all threads together may come to need more than there are:
//! then some wait for others, and if none can go on, that is a deadlock (`core/src/deadlock.rs`). With
//! `ebbtide.admission=strict` each living thread's stack is claimed as a whole when it is spawned, whatever the policy
//! populates of it, and neither another spawn nor the heap gets what is claimed. So all stacks can be in use to their last
//! page at the same time.
//!
//! Frames in stack caches, resting, and in stacks that are kept without a thread are among those that may be claimed. A thread that
//! waits for frames gets all of them in the end. For a stack a spawn asks all CPUs for what is kept and for what
//! they let rest, but takes nothing of their reserves, and may fail while threads that were parked have got some. For the heap, and for
//! memory of user mode, it asks this CPU alone.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::settings::Admission;
use crate::system::System;

/// Frames that are left unclaimed: for page tables of stacks and heap.
const UNCLAIMED: usize = 16;

/// What is claimed. Changed under the frame allocator's lock.
#[derive(Debug)]
pub(crate) struct Claims(AtomicUsize);

impl Claims {
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// There are too few frames that nobody has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overcommitted {
    /// Frames that were to be claimed.
    pub wanted: usize,
    /// Frames that are claimed for the stacks of living threads.
    pub claimed: usize,
    /// Frames that there are for stacks: neither in the heap nor in page tables, nor left for these.
    pub for_stacks: usize,
}

impl core::fmt::Display for Overcommitted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { wanted, claimed, for_stacks } = self;
        write!(
            f,
            "admission is strict, and of {for_stacks} frames for stacks {claimed} are claimed for those of living threads: {wanted} \
             more are too many"
        )
    }
}

/// What to claim for `frames` until they are counted: themselves, and their page tables at most.
pub(crate) const fn with_tables(frames: usize) -> usize {
    frames + frames.div_ceil(512) + 2
}

/// Claims `frames` for the stack of a thread that is being made, or for the heap until they are counted there.
///
/// # Errors
///
/// Admission is strict, and there are too few.
pub(crate) fn claim<S: System>(frames: usize) -> Result<(), Overcommitted> {
    let kernel = S::kernel();
    if kernel.settings.admission() == Admission::Overcommit {
        return Ok(());
    }
    // The lock makes all claims one after the other.
    kernel.frames.with::<S, _>(|all| {
        let accounts = &kernel.accounts;
        let taken = [&accounts.heap, &accounts.user, &accounts.tables, &accounts.emergency].map(|count| count.get());
        let taken = taken.iter().sum::<usize>() + UNCLAIMED;
        let for_stacks = all.counts().total.saturating_sub(taken);
        let claimed = kernel.claims.0.load(Ordering::Relaxed);
        if claimed + frames > for_stacks {
            return Err(Overcommitted { wanted: frames, claimed, for_stacks });
        }
        kernel.claims.0.store(claimed + frames, Ordering::Relaxed);
        Ok(())
    })
}

/// Says whether so many frames could be claimed right now.
pub(crate) fn could_claim<S: System>(frames: usize) -> bool {
    if S::kernel().settings.admission() == Admission::Overcommit {
        return true;
    }
    let could = claim::<S>(frames).is_ok();
    if could {
        give_up::<S>(frames);
    }
    could
}

/// Gives a claim up: the thread has ended, or the frames are counted elsewhere now.
pub(crate) fn give_up<S: System>(frames: usize) {
    let kernel = S::kernel();
    if kernel.settings.admission() == Admission::Strict {
        kernel.frames.with::<S, _>(|_| {
            kernel.claims.0.store(kernel.claims.0.load(Ordering::Relaxed) - frames, Ordering::Relaxed);
        });
    }
}
