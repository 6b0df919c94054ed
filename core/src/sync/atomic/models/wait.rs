//! A wait queue, between threads that wait, with a time-out or without, and who wakes them.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::{Mutex, Notify};
use loom::thread;

use super::explore;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::wait_loop::{self, Waiter};
use crate::thread::StateWord;

/// A thread that waits, and the CPU that runs no other.
struct Party {
    state: StateWord,
    /// Whether the thread is in its CPU's run queue.
    queued: AtomicU32,
    /// Wakes the CPU, which halts when the run queue is empty. loom reports one that will never be woken.
    interrupt: Notify,
    /// Whether the thread's time is up.
    is_late: AtomicU32,
}

impl Party {
    fn new() -> Self {
        Self {
            state: StateWord::new(),
            queued: AtomicU32::new(0),
            interrupt: Notify::new(),
            is_late: AtomicU32::new(0),
        }
    }

    fn wake(&self) {
        if self.state.wake() {
            self.enqueue();
        }
    }

    fn enqueue(&self) {
        assert_eq!(self.queued.swap(1, Ordering::AcqRel), 0, "the thread is queued twice");
        self.interrupt.notify();
    }

    /// The timer's interrupt.
    fn expire(&self) {
        self.is_late.store(1, Ordering::Release);
        self.wake();
    }
}

/// Permits, and two threads that may wait for them.
struct Semaphore {
    permits: AtomicU32,
    waiting: Mutex<VecDeque<usize>>,
    parties: [Party; 2],
}

impl Semaphore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: AtomicU32::new(0),
            waiting: Mutex::new(VecDeque::new()),
            parties: [Party::new(), Party::new()],
        })
    }

    fn release(&self) {
        self.permits.fetch_add(1, Ordering::SeqCst);
        self.wake_one();
    }

    fn wake_one(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        if let Some(first) = waiting.pop_front() {
            self.parties[first].wake();
        }
    }

    /// Thread `number` waits for a permit. Returns whether it has one.
    fn acquire(&self, number: usize) -> bool {
        let take = |permits: u32| permits.checked_sub(1);
        let take = || self.permits.fetch_update(Ordering::Acquire, Ordering::Relaxed, take).is_ok();
        wait_loop::wait_while(&Place { semaphore: self, number }, || !take())
    }

    fn check(&self, permits: u32) {
        assert_eq!(self.permits.load(Ordering::Relaxed), permits, "permits left");
        assert!(self.waiting.lock().unwrap().is_empty(), "a thread that does not wait is in the queue");
    }
}

/// A thread that waits.
struct Place<'a> {
    semaphore: &'a Semaphore,
    number: usize,
}

impl Place<'_> {
    fn party(&self) -> &Party {
        &self.semaphore.parties[self.number]
    }
}

impl Waiter for Place<'_> {
    fn enter(&self, in_front: bool) {
        let mut waiting = self.semaphore.waiting.lock().unwrap();
        if in_front { waiting.push_front(self.number) } else { waiting.push_back(self.number) }
    }

    fn was_woken(&self) -> bool {
        !self.semaphore.waiting.lock().unwrap().contains(&self.number)
    }

    fn leave(&self) -> bool {
        let mut waiting = self.semaphore.waiting.lock().unwrap();
        let place = waiting.iter().position(|number| *number == self.number);
        place.is_none_or(|place| waiting.remove(place).is_none())
    }

    fn is_late(&self) -> bool {
        self.party().is_late.load(Ordering::Acquire) == 1
    }

    fn block(&self) {
        let party = self.party();
        if party.state.begin_block() {
            if !party.state.finish_block() {
                party.enqueue();
            }
            while party.queued.swap(0, Ordering::AcqRel) == 0 {
                party.interrupt.wait();
            }
        }
    }

    fn wake_next(&self) {
        self.semaphore.wake_one();
    }
}

/// One permit, which goes round: the thread that does not give up always gets it, whether the other does or not.
#[test]
fn a_wake_up_is_not_spent_on_a_thread_that_gives_up() {
    explore(Some(2), || {
        let semaphore = Semaphore::new();
        let spawn = |work: fn(&Semaphore)| {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || work(&semaphore))
        };
        let threads = [
            spawn(|semaphore| {
                if semaphore.acquire(0) {
                    semaphore.release();
                }
            }),
            spawn(|semaphore| {
                assert!(semaphore.acquire(1), "its time is not up");
                semaphore.release();
            }),
            spawn(|semaphore| semaphore.parties[0].expire()),
        ];
        semaphore.release();
        for thread in threads {
            thread.join().unwrap();
        }
        semaphore.check(1);
    });
}

/// Two permits for two threads: each gets one, also if the first one takes it when it is queued already.
#[test]
fn a_wake_up_that_is_not_needed_is_passed_on() {
    explore(Some(3), || {
        let semaphore = Semaphore::new();
        let threads = [0, 1].map(|number| {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || assert!(semaphore.acquire(number), "its time is not up"))
        });
        semaphore.release();
        semaphore.release();
        for thread in threads {
            thread.join().unwrap();
        }
        semaphore.check(0);
    });
}
