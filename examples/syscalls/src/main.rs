//! Every system call of a thread in user mode, once as it is meant and once otherwise: what the kernel answers.
//!
//! ```text
//! cargo xtask run syscalls
//! ```
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use ebbtide::user::{self, Call, Error};

ebbtide::main!(main);

/// What the kernel answers.
type Answer = Result<u64, Error>;

/// A call, as it is meant and otherwise.
type Stop = (Call, fn() -> Answer, fn() -> Answer);

/// Where nothing is.
const NOWHERE: u64 = 0x10;

/// The tour. Calls that do not return are made by a child, and what is shown is what its parent learns.
const TOUR: [Stop; Call::ALL.len()] = [
    (Call::Null, || raw(Call::Null, [0; 3]), || user::raw_call(4_711, [0; 5])),
    (Call::Exit, || in_child(|()| 7), || in_child(|()| raw(Call::Exit, [0; 3]).unwrap_or(0))),
    (Call::Panic, || in_child(|()| panic!("out of my depth")), || raw(Call::Panic, [NOWHERE, 8, 0])),
    (Call::Write, || write("written by a system call\n"), || raw(Call::Write, [NOWHERE, 8, 0])),
    (Call::Yield, || raw(Call::Yield, [0; 3]), || raw(Call::Yield, [u64::MAX; 3])),
    (Call::Sleep, || raw(Call::Sleep, [1_000, 0, 0]), || raw(Call::Sleep, [0; 3])),
    (
        Call::Clock,
        || raw(Call::Clock, [0; 3]).map(|now| (now > 0).into()),
        || raw(Call::Clock, [u64::MAX; 3]).map(|_| 1),
    ),
    (Call::FutexWait, wait_for_a_child, || futex_wait(&AtomicU32::new(1), 2)),
    (
        Call::FutexWake,
        || raw(Call::FutexWake, [address_of(&AtomicU32::new(0)), 1, 0]),
        || raw(Call::FutexWake, [1, 1, 0]),
    ),
    (Call::Park, park_and_be_unparked, || raw(Call::Park, [1_000, 0, 0])),
    (Call::Unpark, || raw(Call::Unpark, [user::id(), 0, 0]), || raw(Call::Unpark, [u64::MAX, 0, 0])),
    (Call::Spawn, || in_child(|()| user::is_user_mode().into()), || raw(Call::Spawn, [1 << 63, 0, 0])),
    (Call::Join, || in_child(|()| 42), || raw(Call::Join, [999, 0, 0])),
    (Call::Memory, || Ok(Vec::<u8>::with_capacity(1 << 20).capacity() as u64), || raw(Call::Memory, [1 << 40, 0, 0])),
    (Call::Id, || raw(Call::Id, [0; 3]).map(|id| (id == user::id()).into()), || raw(Call::Id, [999, 0, 0])),
];

fn raw(call: Call, [a, b, c]: [u64; 3]) -> Answer {
    user::raw_call(call as u64, [a, b, c, 0, 0])
}

fn write(text: &str) -> Answer {
    raw(Call::Write, [text.as_ptr().addr() as u64, text.len() as u64, 0])
}

fn in_child(function: fn(()) -> u64) -> Answer {
    user::spawn_child(function, ())?.join()
}

fn address_of(word: &AtomicU32) -> u64 {
    core::ptr::from_ref(word).addr() as u64
}

fn futex_wait(word: &AtomicU32, expected: u64) -> Answer {
    raw(Call::FutexWait, [address_of(word), expected, 1_000_000_000])
}

/// The thread's own word, which a child changes.
fn wait_for_a_child() -> Answer {
    #[expect(unsafe_code, reason = "the word lies in the memory of user mode, and its thread waits")]
    fn change(address: u64) -> u64 {
        // SAFETY: it is its parent's, which waits for this thread.
        let word = unsafe { &*core::ptr::with_exposed_provenance::<AtomicU32>(address as usize) };
        word.store(1, Ordering::Release);
        user::futex_wake(word, 1)
    }
    let word = AtomicU32::new(0);
    let child = user::spawn_child(change, core::ptr::from_ref(&word).expose_provenance() as u64)?;
    while word.load(Ordering::Acquire) == 0 {
        match futex_wait(&word, 0) {
            // The child was first.
            Ok(_) | Err(Error::Changed) => {}
            Err(error) => return Err(error),
        }
    }
    child.join()?;
    Ok(word.load(Ordering::Acquire).into())
}

fn park_and_be_unparked() -> Answer {
    let child = user::spawn_child(|parent: u64| user::unpark(parent).is_ok().into(), user::id())?;
    user::park(Some(Duration::from_secs(10)));
    child.join().map(|unparked: u64| unparked)
}

/// In user mode. Returns how many calls were answered as they should be.
fn tour(_: ()) -> u64 {
    let mut right = 0;
    for (call, meant, other) in TOUR {
        let answers = [meant(), other()];
        let [meant, other] = answers.map(|answer| match answer {
            Ok(value) => alloc::format!("{value}"),
            Err(error) => alloc::format!("{error}"),
        });
        user::println!("{:<10} {meant:<26} {other}", alloc::format!("{call:?}"));
        right += u64::from(answers[0].is_ok() || call == Call::Panic);
    }
    right
}

fn main() {
    ebbtide::println!("{:<10} {:<26} otherwise", "call", "as it is meant");
    let right = user::spawn(tour, ()).join().expect("a tour that ends");
    assert_eq!(right, Call::ALL.len() as u64, "calls that were answered");
    ebbtide::println!("{right} system calls were made in user mode");
}
