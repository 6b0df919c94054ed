//! The state word, between the CPU that a thread leaves and those that wake it.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::{self, Thread};

use super::explore;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::thread::StateWord;
use crate::thread::state::Sweep;

/// A thread, and the run queue of the CPU that it runs on.
struct Machine {
    state: StateWord,
    /// What the thread waits for: how many wakers have done their part.
    done: AtomicU32,
    /// What the second half writes before it hands the thread on, and who takes the thread reads: its saved stack
    /// pointer. loom reports an access that is not ordered with the others.
    saved: UnsafeCell<u32>,
    /// Whether the thread is in the run queue.
    queued: AtomicU32,
    /// The CPU. When it has nothing to run it is parked, and loom reports it if nobody will ever unpark it.
    cpu: Thread,
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: StateWord::new(),
            done: AtomicU32::new(0),
            saved: UnsafeCell::new(0),
            queued: AtomicU32::new(0),
            cpu: thread::current(),
        })
    }

    /// Whoever owns the thread queues it, and so reads what the second half has written.
    fn enqueue(&self) {
        self.saved.with(|_| {});
        assert_eq!(self.queued.swap(1, Ordering::AcqRel), 0, "the thread is queued twice");
        self.cpu.unpark();
    }

    /// The CPU's next thread is this one, once it is queued.
    fn switch_to(&self) {
        while self.queued.swap(0, Ordering::AcqRel) == 0 {
            thread::park();
        }
    }

    /// The thread waits for `wakers`, and its CPU carries out both halves of each switch.
    fn wait_for(&self, wakers: u32) {
        while self.done.load(Ordering::Relaxed) < wakers {
            if self.state.begin_block() {
                self.saved.with_mut(|_| {});
                if !self.state.finish_block() {
                    self.enqueue();
                }
                self.switch_to();
            }
        }
    }

    /// A waker does its part, then wakes the thread.
    fn wake(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.state.wake() {
            self.enqueue();
        }
    }

    /// The same where there is a reclaimer.
    fn wake_from_any_sleep(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.state.wake_from_any_sleep() {
            self.enqueue();
        }
    }

    /// The reclaimer comes by: it may change what the second half wrote, and enqueues whom a waker left to it.
    fn sweep(&self, pressure: bool) {
        if self.state.sweep(pressure) == Sweep::Reclaim {
            self.saved.with_mut(|_| {});
            if !self.state.end_reclaim() {
                self.enqueue();
            }
        }
    }
}

/// A thread that waits for `wakers` others always gets there, and is never in a queue twice.
fn waits_for(wakers: u32, turns: Option<usize>) {
    explore(turns, move || {
        let machine = Machine::new();
        let wake = |_| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.wake())
        };
        let wakers: Vec<_> = (0..wakers).map(wake).collect();
        machine.wait_for(wakers.len() as u32);
        for waker in wakers {
            waker.join().unwrap();
        }
        assert_eq!(machine.queued.swap(0, Ordering::AcqRel), 0, "the thread runs, and is queued");
    });
}

/// A thread that waits for a waker gets there while others sweep, who hold it at times, and is never in a queue twice.
fn waits_while_it_is_swept(sweeps: &'static [bool], turns: Option<usize>) {
    explore(turns, move || {
        let machine = Machine::new();
        let theirs = Arc::clone(&machine);
        let waker = thread::spawn(move || theirs.wake_from_any_sleep());
        let theirs = Arc::clone(&machine);
        let reclaimer = thread::spawn(move || sweeps.iter().for_each(|pressure| theirs.sweep(*pressure)));
        machine.wait_for(1);
        waker.join().unwrap();
        reclaimer.join().unwrap();
        assert_eq!(machine.queued.swap(0, Ordering::AcqRel), 0, "the thread runs, and is queued");
    });
}

#[test]
fn a_wake_up_during_a_sweep_never_gets_lost() {
    waits_while_it_is_swept(&[true], None);
}

#[test]
fn a_wake_up_between_two_sweeps_never_gets_lost() {
    waits_while_it_is_swept(&[false, false], Some(4));
}

#[test]
fn one_waker_never_gets_lost() {
    waits_for(1, None);
}

#[test]
fn of_two_wakers_none_gets_lost_and_one_queues_the_thread() {
    // All orders would take half a minute on a busy machine.
    waits_for(2, Some(4));
}
