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

use crate::sync::atomic::{AtomicU32, Ordering};

/// It runs, or waits in a run queue.
const RUN: u32 = 0;
/// It is about to leave its CPU.
const BLOCKING: u32 = 1;
/// It has left its CPU; nobody holds it.
const BLOCKED: u32 = 2;
/// It has ended.
const EXITED: u32 = 3;
/// A wake-up came that the thread has not consumed.
const WOKEN: u32 = 1 << 8;

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
        let blocked = self.0.compare_exchange(BLOCKING, BLOCKED, Ordering::AcqRel, Ordering::Acquire).is_ok();
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

    /// Says whether the thread has left its CPU and waits to be woken.
    pub fn is_blocked(&self) -> bool {
        self.0.load(Ordering::Acquire) & !WOKEN == BLOCKED
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
    fn a_thread_that_has_ended_is_nobodys() {
        let state = StateWord::new();
        state.exit();
        assert!(!state.wake() && !state.wake());
    }
}
