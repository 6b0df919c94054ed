//! `mpsc`.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use ebbtide::sync::Arc;
use ebbtide::sync::mpsc::{
    self, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, channel, sync_channel,
};
use ebbtide::thread;
use ebbtide::time::{Duration, Instant};

use crate::harness::{Dice, Outcome, wait_until};

tests![
    many_senders_and_one_receiver,
    bounded_channels_hold_no_more_than_their_bound,
    without_room_sender_and_receiver_meet,
    a_receiver_that_goes_gives_messages_back,
    senders_that_go_end_the_channel,
    what_cannot_be_had_at_once,
    try_send_meets_a_receiver_that_waits,
    send_timeout_gives_up_with_its_message,
    messages_and_time_outs_meet,
    messages_end_with_their_channel,
];

/// Threads that send.
const SENDERS: u64 = 6;

/// Numbers that each of them sends, and where the channel is bounded: there nearly each wakes a thread, on another CPU if there are
/// several, so these few are most of what the test takes.
const EACH: u64 = 1_500;
const EACH_IF_BOUNDED: u64 = 250;

/// Receives what each of `SENDERS` threads sent, `each` numbers: each sender's arrive in order, and all of them.
fn arrive(each: u64, receiver: impl IntoIterator<Item = u64>, threads: Vec<thread::JoinHandle<()>>) -> Outcome {
    let mut next = [0; SENDERS as usize];
    for message in receiver {
        let (from, number) = ((message / each) as usize, message % each);
        check_eq!(number, next[from], "a message of sender {from}");
        next[from] += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    check_eq!(next, [each; SENDERS as usize], "messages of each sender");
    Ok(())
}

fn many_senders_and_one_receiver() -> Outcome {
    let (sender, receiver) = channel();
    let spawn = |from: u64| {
        let sender = sender.clone();
        thread::spawn(move || {
            for number in 0..EACH {
                sender.send(from * EACH + number).unwrap();
                if number % 200 == 0 {
                    thread::yield_now();
                }
            }
        })
    };
    let threads = (0..SENDERS).map(spawn).collect();
    drop(sender);
    arrive(EACH, receiver, threads)
}

fn bounded_channels_hold_no_more_than_their_bound() -> Outcome {
    for bound in [0_u32, 1, 3, 64] {
        let (sender, receiver) = sync_channel(bound as usize);
        // Messages that were sent and not received; who sends counts after it could.
        let on_the_way = Arc::new(AtomicU32::new(0));
        let spawn = |from: u64| {
            let (sender, on_the_way) = (sender.clone(), Arc::clone(&on_the_way));
            thread::spawn(move || {
                for number in 0..EACH_IF_BOUNDED {
                    sender.send(from * EACH_IF_BOUNDED + number).unwrap();
                    on_the_way.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..SENDERS).map(spawn).collect();
        drop(sender);
        let mut most = 0;
        let messages = receiver.iter().inspect(|_| {
            // The one that was received may be counted already, or not; the others lie in the channel.
            let counted = on_the_way.load(Ordering::Relaxed);
            most = most.max(counted);
            while on_the_way.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            on_the_way.fetch_sub(1, Ordering::Relaxed);
        });
        arrive(EACH_IF_BOUNDED, messages, threads)?;
        check!(most <= bound + 1, "{most} messages on the way in a channel for {bound}");
    }
    Ok(())
}

fn without_room_sender_and_receiver_meet() -> Outcome {
    let (sender, receiver) = sync_channel(0);
    let sent = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&sent);
    let thread = thread::spawn(move || {
        for number in 0..500 {
            sender.send(number).unwrap();
            theirs.fetch_add(1, Ordering::Release);
        }
    });
    for number in 0..500 {
        if number % 50 == 0 {
            thread::sleep(Duration::from_micros(200));
        }
        check_eq!(sent.load(Ordering::Acquire), number, "messages sent before they were received");
        check_eq!(receiver.recv(), Ok(number), "the message");
        wait_until("the sender did not go on", || sent.load(Ordering::Acquire) == number + 1)?;
    }
    thread.join().unwrap();
    check_eq!(receiver.recv(), Err(RecvError), "a channel whose sender is gone");
    Ok(())
}

fn a_receiver_that_goes_gives_messages_back() -> Outcome {
    for bound in [0, 2] {
        let (sender, receiver) = sync_channel(bound);
        let threads: Vec<_> = (0..8_u32)
            .map(|number| {
                let sender = sender.clone();
                thread::spawn(move || sender.send(number))
            })
            .collect();
        // All of them wait, but for those whose message has room.
        ebbtide::stack::settle();
        let first = receiver.recv().map_err(|error| error.to_string())?;
        ebbtide::stack::settle();
        drop(receiver);
        let mut back = Vec::new();
        for (number, thread) in (0..).zip(threads) {
            if let Err(SendError(message)) = thread.join().unwrap() {
                check_eq!(message, number, "the message that came back");
                back.push(message);
            }
        }
        // One was received; as many as there is room for were on the way and are lost with the channel.
        check_eq!(back.len(), 7 - bound, "messages that came back from a channel for {bound}; {first} was received");
        check_eq!(sender.send(9), Err(SendError(9)), "sending to nobody");
        check_eq!(sender.try_send(9), Err(TrySendError::Disconnected(9)), "trying to");
    }
    let (sender, receiver) = channel();
    sender.send(1).map_err(|error| error.to_string())?;
    drop(receiver);
    check_eq!(sender.send(2), Err(SendError(2)), "sending to nobody");
    Ok(())
}

fn senders_that_go_end_the_channel() -> Outcome {
    let (sender, receiver) = channel();
    let other = sender.clone();
    sender.send(1).map_err(|error| error.to_string())?;
    drop(sender);
    check_eq!((receiver.recv(), receiver.try_recv()), (Ok(1), Err(TryRecvError::Empty)), "one sender is left");
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1));
        drop(other);
    });
    check_eq!(receiver.recv(), Err(RecvError), "the last one goes while the receiver waits");
    thread.join().unwrap();
    check_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected), "trying");
    let timeout = receiver.recv_timeout(Duration::from_secs(3_600));
    check_eq!(timeout, Err(RecvTimeoutError::Disconnected), "for a while");
    check_eq!((&receiver).into_iter().count() + receiver.into_iter().count(), 0, "messages left");
    Ok(())
}

fn what_cannot_be_had_at_once() -> Outcome {
    let (sender, receiver) = sync_channel(2);
    check_eq!(receiver.try_recv(), Err(TryRecvError::Empty), "an empty channel");
    check_eq!([1, 2, 3].map(|n| sender.try_send(n)), [Ok(()), Ok(()), Err(TrySendError::Full(3))], "room for two");
    let start = Instant::now();
    check_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2], "what is there");
    let timeout = Duration::from_millis(2);
    check_eq!(receiver.recv_timeout(timeout), Err(RecvTimeoutError::Timeout), "nobody sends");
    check!(start.elapsed() >= timeout, "it came back after {:?}", start.elapsed());
    sender.send(4).map_err(|error| error.to_string())?;
    check_eq!(receiver.recv_timeout(Duration::ZERO), Ok(4), "what is there");
    Ok(())
}

fn try_send_meets_a_receiver_that_waits() -> Outcome {
    let (sender, receiver) = sync_channel(0);
    check_eq!(sender.try_send(1), Err(TrySendError::Full(1)), "nobody waits");
    check_eq!(receiver.recv_timeout(Duration::from_micros(100)), Err(RecvTimeoutError::Timeout), "nothing was sent");
    check_eq!(sender.try_send(1), Err(TrySendError::Full(1)), "nobody waits any more");
    let thread = thread::spawn(move || receiver.iter().take(200).collect::<Vec<u32>>());
    for number in 0..200 {
        wait_until("nobody came to wait", || sender.try_send(number).is_ok())?;
    }
    check!(thread.join().unwrap().into_iter().eq(0..200), "messages were lost or doubled");
    Ok(())
}

fn send_timeout_gives_up_with_its_message() -> Outcome {
    let timeout = Duration::from_millis(1);
    for bound in [0, 2] {
        let (sender, receiver) = sync_channel(bound);
        for number in 0..bound {
            check_eq!(sender.send_timeout(number, timeout), Ok(()), "a message that has room");
        }
        let start = Instant::now();
        check_eq!(sender.send_timeout(9, timeout), Err(SendTimeoutError::Timeout(9)), "no room, for {bound}");
        check!(start.elapsed() >= timeout, "it gave up after {:?}", start.elapsed());
        // It took its message with it: what comes is what was sent.
        check_eq!(receiver.try_iter().collect::<Vec<_>>(), (0..bound).collect::<Vec<_>>(), "what is there");
        let thread = thread::spawn(move || (receiver.recv(), receiver));
        check_eq!(sender.send_timeout(7, Duration::from_secs(3_600)), Ok(()), "a receiver that comes in time");
        let (received, receiver) = thread.join().unwrap();
        check_eq!(received, Ok(7), "the message");
        drop(receiver);
        check_eq!(sender.send_timeout(8, timeout), Err(SendTimeoutError::Disconnected(8)), "sending to nobody");
    }
    Ok(())
}

/// A receiver whose time is often up, and senders that do not wait, or not for long, when there is no room: what was sent
/// arrives.
fn messages_and_time_outs_meet() -> Outcome {
    for bound in [0, 1, 4] {
        let (sender, receiver) = sync_channel(bound);
        let senders: Vec<_> = (0..4)
            .map(|seed| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let (mut dice, mut sent, mut sum) = (Dice::new(seed), 0_u64, 0);
                    while sent < 150 {
                        let message = seed * 1_000 + sent;
                        let taken = match dice.below(3) {
                            0 => sender.try_send(message).is_ok(),
                            1 => sender.send_timeout(message, dice.micros(40)).is_ok(),
                            _ => sender.send(message).is_ok(),
                        };
                        if taken {
                            (sent, sum) = (sent + 1, sum + message);
                        }
                        thread::sleep(dice.micros(60));
                    }
                    sum
                })
            })
            .collect();
        drop(sender);
        let (mut dice, mut sum, mut timeouts) = (Dice::new(bound as u64), 0, 0);
        loop {
            match receiver.recv_timeout(dice.micros(40)) {
                Ok(message) => sum += message,
                Err(RecvTimeoutError::Timeout) => timeouts += 1,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let sent: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        check_eq!(sum, sent, "the sum of what was sent through a channel for {bound}");
        check!(timeouts > 0, "no time was ever up");
    }
    Ok(())
}

/// Counts the messages that are gone.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn messages_end_with_their_channel() -> Outcome {
    let gone = Arc::new(AtomicU32::new(0));
    let message = || Counted(Arc::clone(&gone));
    let (sender, receiver) = channel();
    for _ in 0..5 {
        sender.send(message()).map_err(|error| error.to_string())?;
    }
    drop(receiver.recv());
    check_eq!(gone.load(Ordering::Relaxed), 1, "a message that was received");
    drop(receiver);
    check_eq!(gone.load(Ordering::Relaxed), 5, "messages whose receiver is gone");
    drop(sender.send(message()));
    check_eq!(gone.load(Ordering::Relaxed), 6, "a message that came back");
    let (sender, receiver): (mpsc::SyncSender<_>, _) = sync_channel(3);
    drop((sender.send(message()), sender.send(message())));
    drop(sender);
    check_eq!(gone.load(Ordering::Relaxed), 6, "messages that can be received still");
    check_eq!(receiver.iter().count(), 2, "messages left");
    check_eq!(gone.load(Ordering::Relaxed), 8, "messages that were received");
    Ok(())
}
