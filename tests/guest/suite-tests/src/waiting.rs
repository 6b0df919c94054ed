//! The queue that every primitive waits in: who is woken, and who goes because its time is up.
//!
//! Each race is made to happen: by priorities, or from within a condition, which runs while its thread is queued.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebbtide::Ebbtide;
use ebbtide::sync::{Arc, Mutex, RwLock, Semaphore, WaitQueue};
use ebbtide::thread::{self, Builder, JoinHandle, Priority};
use ebbtide::time::{Duration, Instant};

use crate::harness::{Outcome, failed, wait_until, within_a_minute};
use crate::schedule::Log;

tests![
    a_wait_that_times_out_leaves_the_queue,
    a_wake_up_in_vain_keeps_the_place,
    a_wake_up_that_is_not_needed_is_passed_on,
    ; on one CPU:
    a_time_out_in_the_middle_keeps_the_order,
    a_wake_up_after_the_deadline_still_counts,
    who_comes_back_lets_others_in,
];

/// How long a thread waits that is to time out.
const SOON: Duration = Duration::from_millis(2);

/// How long one waits that is not to time out.
const LONG: Duration = Duration::from_secs(3_600);

/// A queue, how often its waiters have looked, and what each waits for.
#[derive(Default)]
struct Queue {
    queue: WaitQueue,
    looks: AtomicUsize,
    open: AtomicBool,
}

impl Queue {
    /// Waits until it is open; leaves it closed.
    fn pass(&self) {
        self.queue.wait_while::<Ebbtide>(|| !self.look());
    }

    fn pass_in(&self, timeout: Duration) -> bool {
        self.pass_until(Instant::now() + timeout)
    }

    fn pass_until(&self, deadline: Instant) -> bool {
        self.queue.wait_while_until::<Ebbtide>(deadline.nanoseconds(), || !self.look())
    }

    fn look(&self) -> bool {
        let is_open = self.open.swap(false, Ordering::AcqRel);
        // After it: whoever counts this look and then opens is not seen by it.
        self.looks.fetch_add(1, Ordering::AcqRel);
        is_open
    }

    /// Waits until the waiters have looked so often: two looks, and a thread is in the queue.
    fn looked(&self, times: usize) -> Outcome {
        wait_until("nobody came to wait", || self.looks.load(Ordering::Acquire) >= times)
    }

    fn open(&self) {
        self.open.store(true, Ordering::Release);
    }
}

fn a_wait_that_times_out_leaves_the_queue() -> Outcome {
    let queue = Queue::default();
    let start = Instant::now();
    check!(!queue.pass_in(SOON), "it passed though nobody opened");
    check!(start.elapsed() >= SOON, "it went after {:?}", start.elapsed());
    check!(!queue.queue.wake_one::<Ebbtide>(), "it is still in the queue");
    queue.open();
    check!(queue.pass_in(Duration::ZERO), "it did not take what was there");
    Ok(())
}

/// Three threads wait in order; the second one's time is up. They have a higher priority than this one: each is in the
/// queue when this one goes on, though time may have jumped.
fn a_time_out_in_the_middle_keeps_the_order() -> Outcome {
    let queue = Arc::new(Queue::default());
    let log = Log::new(3);
    let spawn = |n: u8, timeout: Option<Duration>| {
        let (queue, log) = (Arc::clone(&queue), log.clone());
        spawn_above(move || {
            let passed = timeout.map_or_else(
                || {
                    queue.pass();
                    true
                },
                |timeout| queue.pass_in(timeout),
            );
            log.note(if passed { n } else { 10 + n });
        })
    };
    let mut threads = Vec::new();
    for (n, timeout) in [(1, None), (2, Some(SOON)), (3, None)] {
        threads.push(spawn(n, timeout)?);
        queue.looked(2 * usize::from(n))?;
    }
    wait_until("the second one did not time out", || log.len() == 1)?;
    for gone in 2..=3 {
        queue.open();
        check!(queue.queue.wake_one::<Ebbtide>(), "nobody waits any more");
        wait_until("nobody passed", || log.len() == gone)?;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    check_eq!(log.read(), [12, 1, 3], "who went, in order; above 10 in vain");
    Ok(())
}

fn spawn_above<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, alloc::string::String> {
    Builder::new().priority(Priority::MAX).spawn(f).map_err(failed("spawn"))
}

/// The waker has a higher priority and keeps the CPU beyond the deadline: so the waiter is ready because its time is up,
/// but has not run when the wake-up comes. If the time is up before the waker has the CPU, it says nothing: then once more,
/// with twice the time.
fn a_wake_up_after_the_deadline_still_counts() -> Outcome {
    let (start, mut timeout) = (Instant::now(), SOON);
    while within_a_minute(start) {
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        let deadline = Instant::now() + timeout;
        let waiter = thread::spawn(move || theirs.pass_until(deadline));
        queue.looked(2)?;
        let theirs = Arc::clone(&queue);
        let waker = spawn_above(move || {
            let in_time = Instant::now() < deadline;
            while Instant::now() < deadline {
                core::hint::spin_loop();
            }
            theirs.open();
            (in_time, theirs.queue.wake_one::<Ebbtide>())
        })?;
        let ((in_time, woken), passed) = (waker.join().unwrap(), waiter.join().unwrap());
        if in_time {
            check!(woken, "it left the queue though it could not run");
            check!(passed, "the wake-up was spent on a thread that went without");
            return Ok(());
        }
        timeout *= 2;
    }
    Err("after a minute: the waker never came in time".into())
}

/// The first of two is woken, finds nothing, and waits again: it is still the first.
fn a_wake_up_in_vain_keeps_the_place() -> Outcome {
    let queue = Arc::new(Queue::default());
    let log = Log::new(2);
    let mut threads = Vec::new();
    for n in 1..=2_u8 {
        let (theirs, log) = (Arc::clone(&queue), log.clone());
        threads.push(thread::spawn(move || {
            theirs.pass();
            log.note(n);
        }));
        queue.looked(2 * usize::from(n))?;
    }
    queue.queue.wake_one::<Ebbtide>();
    // One look when it woke, and one from within the queue.
    queue.looked(6)?;
    for gone in 1..=2 {
        queue.open();
        check!(queue.queue.wake_one::<Ebbtide>(), "nobody waits any more");
        wait_until("nobody passed", || log.len() == gone)?;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    check_eq!(log.read(), [1, 2], "who passed, in order");
    Ok(())
}

/// A thread gets what it wants by its own look when it is queued already. Then another comes to wait behind it, and then
/// a wake-up comes, which is for that one.
fn a_wake_up_that_is_not_needed_is_passed_on() -> Outcome {
    let queue = Arc::new(Queue::default());
    let (theirs, passed) = (Arc::clone(&queue), Arc::new(AtomicBool::new(false)));
    let their_passed = Arc::clone(&passed);
    let begin = Arc::new(AtomicBool::new(false));
    let their_begin = Arc::clone(&begin);
    let behind = thread::spawn(move || {
        while !their_begin.load(Ordering::Acquire) {
            thread::yield_now();
        }
        theirs.pass();
        their_passed.store(true, Ordering::Release);
    });
    let (mut looks, mut outcome) = (0, Ok(()));
    queue.queue.wait_while::<Ebbtide>(|| {
        looks += 1;
        if looks == 2 {
            begin.store(true, Ordering::Release);
            outcome = queue.looked(2);
            queue.open();
            queue.queue.wake_one::<Ebbtide>();
        }
        looks < 2
    });
    outcome?;
    wait_until("the wake-up was lost", || passed.load(Ordering::Acquire))?;
    behind.join().unwrap();
    Ok(())
}

/// A thread sleeps with what it has taken, gives it up, and takes it again at once. It has the CPU, so it could do so
/// each time before the other, who was woken, has run.
fn who_comes_back_lets_others_in() -> Outcome {
    let (lock, shared, permits) = (Mutex::new(()), RwLock::new(()), Semaphore::new(1));
    let pass_permit = |hold: fn()| {
        permits.acquire();
        hold();
        permits.release();
    };
    let found = [
        rounds_until(|| drop(lock.lock()), || with(lock.lock())),
        rounds_until(|| drop(lock.try_lock_for(LONG)), || with(lock.lock())),
        rounds_until(|| drop(shared.write()), || with(shared.write())),
        rounds_until(|| drop(shared.read()), || with(shared.write())),
        rounds_until(|| pass_permit(|| ()), || pass_permit(|| with(()))),
    ];
    // Two each; a time slice that ends at the wrong moment costs one more.
    check!(found.iter().all(|rounds| *rounds < 10), "rounds until the other had its turn: {found:?}");
    Ok(())
}

/// Sleeps with a guard.
fn with<G>(guard: G) {
    thread::sleep(Duration::from_micros(200));
    drop(guard);
}

/// How often this thread runs `hold` until the other has come through `pass`, 100 times at most: the first time the other
/// comes to wait, the second time it has been woken.
fn rounds_until(pass: impl FnOnce() + Send, hold: impl Fn()) -> u32 {
    let passed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pass();
            passed.store(true, Ordering::Release);
        });
        let mut rounds = 0;
        while !passed.load(Ordering::Acquire) && rounds < 100 {
            hold();
            rounds += 1;
        }
        rounds
    })
}
