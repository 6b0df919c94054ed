//! All threads wait, and nothing can wake one: `park`, `join`, `lock`, `condvar`.

use alloc::string::String;

use ebbtide::sync::{Arc, Barrier, Condvar, Mutex};
use ebbtide::thread;

use crate::word;

pub fn main() -> Result<(), String> {
    match &*word(1) {
        "park" => thread::park(),
        "join" => drop(thread::spawn(thread::park).join()),
        "lock" => {
            let lock = Mutex::new(());
            let _first = lock.lock();
            let _second = lock.lock();
        }
        "locks" => embrace(),
        "condvar" => {
            let lock = Mutex::new(());
            drop(Condvar::new().wait(lock.lock()));
        }
        other => return Err(other.into()),
    }
    Ok(())
}

/// Two threads, each with a lock that the other one wants: they meet when each has its own.
fn embrace() {
    let locks = Arc::new((Mutex::new(()), Mutex::new(()), Barrier::new(2)));
    let theirs = Arc::clone(&locks);
    let other = thread::spawn(move || {
        let _second = theirs.1.lock();
        theirs.2.wait();
        let _first = theirs.0.lock();
    });
    let _first = locks.0.lock();
    locks.2.wait();
    let _second = locks.1.lock();
    other.join().unwrap();
}
