//! `park` and `unpark`: one token.

use core::sync::atomic::{AtomicU32, Ordering};

use ebbtide::sync::Arc;
use ebbtide::thread;
use ebbtide::time::Duration;

use crate::harness::{Outcome, wait_until};
use crate::schedule::Log;

tests![
    unpark_before_park,
    two_unparks_leave_one_token,
    unpark_by_another_thread,
    a_token_outlives_a_sleep,
    unpark_of_an_ended_thread_does_nothing,
    parking_ping_pong,
];

fn unpark_before_park() -> Outcome {
    thread::current().unpark();
    // Returns at once; a deadlock would end the run.
    thread::park();
    Ok(())
}

fn two_unparks_leave_one_token() -> Outcome {
    let log = Log::new(2);
    let main = thread::current();
    main.unpark();
    main.unpark();
    thread::park();
    let theirs = log.clone();
    let waker = thread::spawn(move || {
        theirs.note(1);
        main.unpark();
    });
    thread::park();
    log.note(2);
    waker.join().unwrap();
    check_eq!(log.read(), [1, 2], "the second park waits for the waker (1)");
    Ok(())
}

fn unpark_by_another_thread() -> Outcome {
    let stage = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&stage);
    let parked = thread::spawn(move || {
        theirs.store(1, Ordering::Release);
        thread::park();
        theirs.store(2, Ordering::Release);
    });
    wait_until("it did not start", || stage.load(Ordering::Acquire) == 1)?;
    thread::sleep(Duration::from_millis(2));
    check_eq!(stage.load(Ordering::Acquire), 1, "stage of a parked thread");
    parked.thread().unpark();
    parked.join().unwrap();
    check_eq!(stage.load(Ordering::Acquire), 2, "stage after unpark");
    Ok(())
}

fn a_token_outlives_a_sleep() -> Outcome {
    thread::current().unpark();
    thread::sleep(Duration::from_millis(2));
    thread::park();
    Ok(())
}

fn unpark_of_an_ended_thread_does_nothing() -> Outcome {
    let ended = thread::spawn(|| ());
    let handle = ended.thread().clone();
    ended.join().unwrap();
    for _ in 0..3 {
        handle.unpark();
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn parking_ping_pong() -> Outcome {
    const ROUNDS: u32 = 2_000;
    let ball = Arc::new(AtomicU32::new(0));
    let (theirs, main) = (Arc::clone(&ball), thread::current());
    let pong = thread::spawn(move || play(&theirs, &main, 1));
    play(&ball, pong.thread(), 0);
    pong.join().unwrap();
    check_eq!(ball.load(Ordering::Acquire), 2 * ROUNDS, "hits");
    return Ok(());

    fn play(ball: &AtomicU32, other: &thread::Thread, remainder: u32) {
        for _ in 0..ROUNDS {
            while ball.load(Ordering::Acquire) % 2 != remainder {
                thread::park();
            }
            ball.fetch_add(1, Ordering::AcqRel);
            other.unpark();
        }
    }
}
