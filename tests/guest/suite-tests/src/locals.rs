//! Thread-local values.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ebbtide::sync::Arc;
use ebbtide::thread::{self, LocalKey};
use ebbtide::time::{Duration, Instant};

use crate::harness::Outcome;
use crate::schedule::Log;

tests![
    each_thread_has_its_own_value,
    a_value_is_made_by_the_first_access,
    values_survive_preemption,
    values_end_before_their_thread_is_joined,
    destructors_may_use_other_values,
    a_value_that_has_ended_is_gone,
    a_value_may_be_asked_for_while_it_is_made,
    cells_are_set_without_being_made,
    the_result_of_a_thread_may_use_values_as_it_ends,
];

ebbtide::thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(5) };
    static WORDS: RefCell<Vec<&'static str>> = RefCell::new(Vec::new());
}

/// The values that were made, over all threads.
static MADE: AtomicU32 = AtomicU32::new(0);

ebbtide::thread_local!(static COUNTED: u32 = MADE.fetch_add(1, Ordering::Relaxed));

fn each_thread_has_its_own_value() -> Outcome {
    NUMBER.set(100);
    let threads: Vec<_> = (0..8_u64)
        .map(|n| {
            thread::spawn(move || {
                let first = NUMBER.get();
                NUMBER.set(n);
                thread::sleep(Duration::from_micros(300));
                (first, NUMBER.get())
            })
        })
        .collect();
    for (n, thread) in (0..).zip(threads) {
        check_eq!(thread.join().unwrap(), (5, n), "the value at first, and after others had set theirs");
    }
    check_eq!(NUMBER.replace(5), 100, "the main thread's value");
    Ok(())
}

fn a_value_is_made_by_the_first_access() -> Outcome {
    let before = MADE.load(Ordering::Relaxed);
    let use_twice = || COUNTED.with(|first| COUNTED.with(|second| core::ptr::eq(first, second)));
    thread::spawn(|| ()).join().unwrap();
    check_eq!(MADE.load(Ordering::Relaxed), before, "values made though nobody asked");
    check!(thread::spawn(use_twice).join().unwrap(), "two values in one thread");
    check!(thread::spawn(use_twice).join().unwrap(), "two values in one thread");
    check_eq!(MADE.load(Ordering::Relaxed), before + 2, "values made by two threads");
    Ok(())
}

fn values_survive_preemption() -> Outcome {
    let threads: Vec<_> = (1..=4_u64)
        .map(|step| {
            thread::spawn(move || {
                let (start, mut rounds) = (Instant::now(), 0);
                NUMBER.set(0);
                while start.elapsed() < Duration::from_millis(60) {
                    NUMBER.set(NUMBER.get() + step);
                    rounds += 1;
                }
                NUMBER.get() == rounds * step
            })
        })
        .collect();
    for thread in threads {
        check!(thread.join().unwrap(), "another thread changed the value");
    }
    Ok(())
}

/// Notes that it has ended.
struct Noted(Log, u8);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

ebbtide::thread_local! {
    static OLDER: RefCell<Option<Noted>> = const { RefCell::new(None) };
    static NEWER: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

fn values_end_before_their_thread_is_joined() -> Outcome {
    let log = Log::new(6);
    let work = |log: Log| {
        move || {
            OLDER.set(Some(Noted(log.clone(), 2)));
            NEWER.set(Some(Noted(log.clone(), 3)));
            log.note(1);
        }
    };
    thread::spawn(work(log.clone())).join().unwrap();
    check_eq!(log.read(), [1, 3, 2], "a thread's end and its values', the newer one first");
    thread::scope(|scope| scope.spawn(work(log.clone())).join().unwrap());
    check_eq!(log.read(), [1, 3, 2, 1, 3, 2], "the same for a scoped thread");
    Ok(())
}

/// Uses another value as it ends.
struct Last(Log);

impl Drop for Last {
    fn drop(&mut self) {
        // Made here: nobody asked for it before.
        WORDS.with_borrow_mut(|words| words.push("last"));
        self.0.note(WORDS.with_borrow(Vec::len) as u8);
        // Ends after this one, and is new.
        OLDER.set(Some(Noted(self.0.clone(), 9)));
    }
}

ebbtide::thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });

fn destructors_may_use_other_values() -> Outcome {
    let log = Log::new(2);
    let theirs = log.clone();
    thread::spawn(move || LAST.set(Some(Last(theirs)))).join().unwrap();
    check_eq!(log.read(), [1, 9], "words that it counted, and the end of what it made");
    Ok(())
}

/// Asks for itself as it ends.
struct Gone(Log);

ebbtide::thread_local!(static GONE: RefCell<Option<Box<Gone>>> = const { RefCell::new(None) });

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.note(u8::from(GONE.try_with(|_| ()).is_err()));
    }
}

fn a_value_that_has_ended_is_gone() -> Outcome {
    let log = Log::new(1);
    let theirs = log.clone();
    thread::spawn(move || GONE.set(Some(Box::new(Gone(theirs))))).join().unwrap();
    check_eq!(log.read(), [1], "whether it was gone (1) when it asked for itself");
    Ok(())
}

ebbtide::thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static NESTED: u32 = nested();
}

/// Asks for the value that it makes, once.
fn nested() -> u32 {
    let depth = DEPTH.replace(DEPTH.get() + 1);
    if depth == 0 { 10 * NESTED.with(|inner| *inner) } else { 7 }
}

fn a_value_may_be_asked_for_while_it_is_made() -> Outcome {
    let found = thread::spawn(|| (NESTED.with(|value| *value), NESTED.with(|value| *value), DEPTH.get()));
    check_eq!(found.join().unwrap(), (70, 70, 2), "the value, twice, and how often it was made");
    Ok(())
}

ebbtide::thread_local!(static NEVER_MADE: Cell<u32> = panic!("a value that was set was made"));

fn cells_are_set_without_being_made() -> Outcome {
    let found = thread::spawn(|| {
        NEVER_MADE.set(3);
        let old = NEVER_MADE.replace(4);
        (old, NEVER_MADE.take(), NEVER_MADE.get())
    });
    check_eq!(found.join().unwrap(), (3, 4, 0), "what was replaced, taken and left");
    Ok(())
}

/// Adds to a thread's value as it ends, wherever that is.
struct Result(&'static LocalKey<RefCell<Option<Noted>>>, Log);

impl Drop for Result {
    fn drop(&mut self) {
        self.0.set(Some(Noted(self.1.clone(), 4)));
    }
}

/// Nobody joins it, so its result ends in the thread, when the thread's values have ended already.
fn the_result_of_a_thread_may_use_values_as_it_ends() -> Outcome {
    let log = Log::new(1);
    let theirs = log.clone();
    let dropped = Arc::new(AtomicBool::new(false));
    let is_dropped = Arc::clone(&dropped);
    drop(thread::spawn(move || {
        while !is_dropped.load(Ordering::Acquire) {
            thread::yield_now();
        }
        Result(&OLDER, theirs)
    }));
    dropped.store(true, Ordering::Release);
    crate::harness::wait_until("the value did not end", || log.len() == 1)?;
    check_eq!(log.read(), [4], "what ended");
    Ok(())
}
