//! The state word of a thread: who may touch a thread that is not running, settled by single atomic operations.
//!
//! ```text
//!            begin_block            finish_block             wake (saw exactly BLOCKED)
//!   RUN ───────────────► BLOCKING ───────────────► BLOCKED ──────────────────────────► RUN, enqueued by the waker
//!    ▲                       │ WOKEN was set meanwhile
//!    └───────────────────────┘ the second half enqueues
//! ```
//!
//! To wake is one `fetch_or(WOKEN)`: whoever sees exactly BLOCKED owns the thread and enqueues it; in every other
//! state the holder (the thread itself, or the second half of its switch) finds the bit. So a waker never waits, and
//! no wake-up is lost: a token that comes before the block makes the block fail. A yield needs no atomic operation.
//!
//! Under a policy with a [reclaimer](super::reclaimer) a blocked thread has two more marks, which its next wake-up takes away, so that
//! nothing is counted at a wake-up to tell two sleeps apart, and the sweeps are holders for a moment:
//!
//! ```text
//!              sweep                  sweep                end_reclaim
//!   BLOCKED ─────────► BLOCKED+SEEN ─────────► RECLAIMING ─────────────► BLOCKED+SWEPT
//!                                                  │ WOKEN was set meanwhile
//!                                                  └──────────────────► RUN, enqueued by the reclaimer
//! ```

use crate::sync::atomic::{AtomicU32, Ordering};

/// It runs, or waits in a run queue.
const RUN: u32 = 0;
/// It is about to leave its CPU.
const BLOCKING: u32 = 1;
/// It has left its CPU; nobody holds it.
const BLOCKED: u32 = 2;
/// It has ended.
const EXITED: u32 = 3;
/// It has left its CPU, and the reclaimer holds it.
const RECLAIMING: u32 = 4;
/// A wake-up came that the thread has not consumed.
const WOKEN: u32 = 1 << 8;
/// A sweep has found it blocked, and it has slept since.
const SEEN: u32 = 1 << 9;
/// The reclaimer has taken what it does not need while it sleeps.
const SWEPT: u32 = 1 << 10;

const BLOCKED_AND_SEEN: u32 = BLOCKED | SEEN;

/// What a sweep makes of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// It does not sleep, or was swept while it does: nothing.
    Pass,
    /// It sleeps, and the next sweep will know that it has done so since this one.
    Mark,
    /// It sleeps, and the caller holds it until [`StateWord::end_reclaim`].
    Reclaim,
}

/// A thread's state word.
#[derive(Debug)]
pub struct StateWord(AtomicU32);

impl StateWord {
    /// The state of a thread that is ready to run.
    pub fn new() -> Self {
        Self(AtomicU32::new(RUN))
    }

    /// The running thread wants to block. Returns false, and consumes the wake-up, if one came already.
    #[must_use]
    pub fn begin_block(&self) -> bool {
        // AcqRel: what the waker did before its wake-up is seen by a thread that goes on because of it.
        match self.0.compare_exchange(RUN, BLOCKING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(_) => {
                self.0.fetch_and(!WOKEN, Ordering::AcqRel);
                false
            }
        }
    }

    /// The second half hands on a thread that blocks. Returns false if a waker was faster: then the thread is ready
    /// and the caller enqueues it.
    #[must_use]
    pub fn finish_block(&self) -> bool {
        // Release: the saved stack pointer and the stack's bookkeeping are valid for whoever takes the thread next.
        // SeqCst: the reclaimer's sweep comes after it, or whoever blocks sees that the reclaimer sleeps and wants to be told.
        let blocked = self.0.compare_exchange(BLOCKING, BLOCKED, Ordering::SeqCst, Ordering::Acquire).is_ok();
        if !blocked {
            self.consume();
        }
        blocked
    }

    /// Wakes the thread. Returns true if the caller now owns it and must enqueue it.
    #[must_use]
    pub fn wake(&self) -> bool {
        let owned = self.0.fetch_or(WOKEN, Ordering::AcqRel) == BLOCKED;
        if owned {
            self.consume();
        }
        owned
    }

    /// The same under a policy with a reclaimer.
    #[must_use]
    pub fn wake_from_any_sleep(&self) -> bool {
        let owned = self.0.fetch_or(WOKEN, Ordering::AcqRel) & !(SEEN | SWEPT) == BLOCKED;
        if owned {
            self.consume();
        }
        owned
    }

    /// A sweep comes by: a thread that the last one saw, and that has slept since, is held by the caller from now on; under
    /// `pressure` any that sleeps. Nobody waits for the caller: a waker leaves its token.
    #[must_use]
    pub fn sweep(&self, pressure: bool) -> Sweep {
        let (found, new, made) = match self.0.load(Ordering::Relaxed) {
            BLOCKED if !pressure => (BLOCKED, BLOCKED | SEEN, Sweep::Mark),
            found @ (BLOCKED | BLOCKED_AND_SEEN) => (found, RECLAIMING, Sweep::Reclaim),
            _ => return Sweep::Pass,
        };
        // Acquire: what the second half wrote when it handed the thread on.
        let is_done = self.0.compare_exchange(found, new, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_done { made } else { Sweep::Pass }
    }

    /// The reclaimer lets go of a thread. Returns false if it was woken meanwhile: then the thread is ready and the caller enqueues it.
    #[must_use]
    pub fn end_reclaim(&self) -> bool {
        // Release: the stack's bookkeeping is valid for whoever takes the thread next.
        let sleeps = self.0.compare_exchange(RECLAIMING, BLOCKED | SWEPT, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !sleeps {
            self.consume();
        }
        sleeps
    }

    /// Makes a thread ready whose wake-up has come.
    fn consume(&self) {
        // Not a store: a second waker may have left its token just before, and the thread must see what that one did
        // (sync::atomic::models::state: with a store it may sleep on, in the memory model if not on x86_64).
        self.0.swap(RUN, Ordering::AcqRel);
    }

    /// The running thread ends.
    pub fn exit(&self) {
        self.0.store(EXITED, Ordering::Release);
    }

    /// Says whether the thread sleeps, or is about to, for who only looks on: it may be otherwise by now.
    pub(crate) fn is_asleep(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed) & !(SEEN | SWEPT), BLOCKING | BLOCKED | RECLAIMING)
    }

    /// The same of one that has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !WOKEN == EXITED
    }

    /// Says whether the thread has left its CPU and waits to be woken.
    pub fn is_blocked(&self) -> bool {
        self.0.load(Ordering::Acquire) & !(WOKEN | SEEN | SWEPT) == BLOCKED
    }
}

impl Default for StateWord {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_before_the_block_makes_it_fail_once() {
        let state = StateWord::new();
        assert!(!state.wake());
        assert!(!state.begin_block(), "the token is consumed");
        assert!(state.begin_block(), "and only once");
    }

    #[test]
    fn a_wake_up_during_the_block_is_found_by_the_second_half() {
        let state = StateWord::new();
        assert!(state.begin_block());
        assert!(!state.wake(), "the second half holds the thread");
        assert!(!state.finish_block());
        assert!(state.begin_block(), "the token is consumed");
    }

    #[test]
    fn of_two_wakers_of_a_blocked_thread_one_owns_it() {
        let state = StateWord::new();
        assert!(state.begin_block() && state.finish_block() && state.is_blocked());
        assert!(state.wake());
        assert!(!state.wake(), "the second leaves a token");
        assert!(!state.begin_block());
    }

    #[test]
    fn the_second_sweep_of_one_sleep_reclaims_and_a_third_has_nothing_to_do() {
        let state = StateWord::new();
        assert_eq!(state.sweep(true), Sweep::Pass, "it runs");
        assert!(state.begin_block());
        assert_eq!(state.sweep(true), Sweep::Pass, "its CPU holds it");
        assert!(state.finish_block());
        assert_eq!(state.sweep(false), Sweep::Mark);
        assert_eq!(state.sweep(false), Sweep::Reclaim);
        assert_eq!(state.sweep(true), Sweep::Pass, "the other one holds it");
        assert!(state.end_reclaim() && state.is_blocked());
        assert_eq!(state.sweep(true), Sweep::Pass, "it was swept");
        assert!(state.wake_from_any_sleep());
    }

    #[test]
    fn a_sweep_that_saw_another_sleep_does_not_count() {
        let state = StateWord::new();
        for _ in 0..2 {
            assert!(state.begin_block() && state.finish_block());
            assert_eq!(state.sweep(false), Sweep::Mark);
            assert!(state.wake_from_any_sleep());
        }
        assert!(state.begin_block() && state.finish_block());
        assert_eq!(state.sweep(true), Sweep::Reclaim, "under pressure the first one does");
    }

    #[test]
    fn a_wake_up_while_it_is_reclaimed_is_found_by_the_reclaimer() {
        let state = StateWord::new();
        assert!(state.begin_block() && state.finish_block());
        assert_eq!(state.sweep(true), Sweep::Reclaim);
        assert!(!state.wake_from_any_sleep(), "the reclaimer holds the thread");
        assert!(!state.end_reclaim());
        assert!(state.begin_block(), "the token is consumed");
    }

    #[test]
    fn a_thread_that_has_ended_is_nobodys() {
        let state = StateWord::new();
        state.exit();
        assert!(!state.wake() && !state.wake());
    }
}
