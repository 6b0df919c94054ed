//! Waiting for a word in the memory of user mode to change: Linux's futex.
//!
//! Who waits looks at the word and enters the list under one lock, so no change followed by a wake-up comes in between.

use alloc::vec::Vec;
use core::time::Duration;

use crate::arch::UserMode;
use crate::sync::{SpinLock, WaitQueue};
use crate::system::System;
use crate::time;
use crate::user::Error;
use crate::user::pointer::read_value;

/// Lists of who waits, each for the words of many addresses.
const BUCKETS: usize = 32;

struct Bucket {
    /// Who waits: the word's address, and a number of its own.
    waiters: SpinLock<Waiters>,
    queue: WaitQueue,
}

struct Waiters {
    list: Vec<(u64, u64)>,
    next: u64,
}

static TABLE: [Bucket; BUCKETS] =
    [const { Bucket { waiters: SpinLock::new(Waiters { list: Vec::new(), next: 0 }), queue: WaitQueue::new() } };
        BUCKETS];

fn bucket(address: u64) -> &'static Bucket {
    // Words are four bytes long, and those of other threads lie a window further.
    &TABLE[((address >> 2 ^ address >> 12 ^ address >> 24) % BUCKETS as u64) as usize]
}

/// Waits to be woken while the word at `address` has `expected`, for `nanoseconds` at most.
///
/// # Errors
///
/// The word has another value, or cannot be read; the time is up.
pub(super) fn wait<S: System>(address: u64, expected: u64, nanoseconds: u64) -> Result<u64, Error>
where
    S::Arch: UserMode,
{
    if !address.is_multiple_of(4) {
        return Err(Error::BadArgument);
    }
    // Brings the page in reach of an error before the lock is taken.
    let _: u32 = read_value::<S, u32>(address)?;
    let bucket = bucket(address);
    let ticket = bucket.waiters.with::<S, _>(|waiters| {
        if u64::from(read_value::<S, u32>(address)?) != expected {
            return Err(Error::Changed);
        }
        waiters.list.try_reserve(1).map_err(|_| Error::NoMemory)?;
        let ticket = waiters.next;
        waiters.next += 1;
        waiters.list.push((address, ticket));
        Ok(ticket)
    })?;
    let is_listed = || bucket.waiters.with::<S, _>(|waiters| waiters.list.iter().any(|(_, number)| *number == ticket));
    let deadline = time::after::<S>(Duration::from_nanos(nanoseconds));
    if bucket.queue.wait_while_until::<S>(deadline, is_listed) {
        return Ok(0);
    }
    // Late, unless a waker was faster.
    bucket.waiters.with::<S, _>(|waiters| {
        let place = waiters.list.iter().position(|(_, number)| *number == ticket);
        place.map(|place| waiters.list.remove(place)).map_or(Ok(0), |_| Err(Error::TimedOut))
    })
}

/// Wakes up to `most` of those that wait for the word at `address`, those first that came first. Returns how many.
pub(super) fn wake<S: System>(address: u64, most: u64) -> u64 {
    let bucket = bucket(address);
    let woken = bucket.waiters.with::<S, _>(|waiters| {
        let mut woken = 0;
        waiters.list.retain(|(word, _)| {
            let goes = *word == address && woken < most;
            woken += u64::from(goes);
            !goes
        });
        woken
    });
    if woken > 0 {
        bucket.queue.wake_all::<S>();
    }
    woken
}
