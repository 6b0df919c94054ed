//! How a thread waits in a queue: what it does in which order.
//!
//! No wake-up is lost: a thread is in the queue before it looks at its condition for the last time, and a waker
//! changes the condition before it looks at the queue.
//!
//! Whoever takes a thread out of the queue settles, under the queue's lock, why it goes on: a waker, or the thread itself
//! because its time is up. So a wake-up is spent on one thread and a time-out on none:
//!
//! - A thread that was woken looks at its condition before it looks at the clock.
//! - One whose time was up first has left the queue, and the waker finds the next.
//! - One that got what it wants by its own look, and was woken while it left, passes the wake-up on.
//!
//! The kernel's queue is `WaitQueue`. The order is all that matters here, so that a model can carry out the same code
//! in every way in which the parties can meet (`sync::atomic::models::wait`).

/// A thread that waits in a queue.
pub trait Waiter {
    /// Enters the queue: at its end, or in front of it.
    fn enter(&self, in_front: bool);

    /// Says, under the queue's lock, whether a waker has taken the thread out. Asked no more once it has said so.
    fn was_woken(&self) -> bool;

    /// Takes the thread out of the queue, under its lock. Returns true if a waker did so before.
    fn leave(&self) -> bool;

    /// Says whether the time is up.
    fn is_late(&self) -> bool;

    /// Waits until somebody wakes the thread or its time is up. May return though nothing happened.
    fn block(&self);

    /// Wakes the first thread in the queue, if there is one.
    fn wake_next(&self);
}

/// Waits for as long as `condition` holds and there is time. Returns whether the condition has said that it does not hold;
/// then it is not asked again: it may have taken what it asked for.
pub fn wait_while(place: &impl Waiter, mut condition: impl FnMut() -> bool) -> bool {
    let mut was_woken = false;
    loop {
        // Who was woken in vain goes back to where it was.
        place.enter(was_woken);
        // Whoever changes the condition after this look finds the thread in the queue.
        if !condition() {
            if place.leave() {
                // The wake-up was for something that another can have.
                place.wake_next();
            }
            return true;
        }
        was_woken = sleep(place);
        if !condition() {
            return true;
        }
        if !was_woken {
            return false;
        }
    }
}

/// Blocks until a waker has taken the thread out of the queue, or the time is up. Returns whether it was a waker.
pub fn sleep(place: &impl Waiter) -> bool {
    while !place.was_woken() {
        if place.is_late() {
            return place.leave();
        }
        place.block();
    }
    true
}
