//! What the ends of a channel share.
//!
//! Messages lie in boxes of their own, made before and opened after the spin lock is held: under it a message is linked
//! or unlinked, whatever its size and however many there are. A channel without room is one with room for a single
//! message whose sender goes on when it has been taken out; the tickets tell which sender that is.

use alloc::boxed::Box;
use core::mem;

use intrusive_collections::{LinkedList, LinkedListLink, intrusive_adapter};

use super::{RecvError, SendTimeoutError, TrySendError};
use crate::sync::{SpinLock, WaitQueue};
use crate::system::System;

/// A message on its way.
struct Message<T> {
    link: LinkedListLink,
    value: T,
}

intrusive_adapter!(InOrder<T> = Box<Message<T>>: Message<T> { link => LinkedListLink });

/// The messages, and who is there.
struct State<T> {
    messages: LinkedList<InOrder<T>>,
    /// Messages that were ever put in, and taken out.
    put: u64,
    taken: u64,
    senders: usize,
    receiver_is_gone: bool,
    /// It waits, and takes what it finds in any case.
    receiver_waits: bool,
}

/// A channel.
pub struct Channel<T> {
    state: SpinLock<State<T>>,
    /// Messages that it has room for; none if there is always more.
    bound: Option<usize>,
    /// The receiver, for a message.
    receiving: WaitQueue,
    /// Senders, for room.
    sending: WaitQueue,
    /// Senders in a channel without room, for their message to be taken.
    handing_over: WaitQueue,
}

impl<T> Channel<T> {
    /// Creates a channel with one sender.
    pub fn new(bound: Option<usize>) -> Self {
        let state = State {
            messages: LinkedList::default(),
            put: 0,
            taken: 0,
            senders: 1,
            receiver_is_gone: false,
            receiver_waits: false,
        };
        Self {
            state: SpinLock::new(state),
            bound,
            receiving: WaitQueue::new(),
            sending: WaitQueue::new(),
            handing_over: WaitQueue::new(),
        }
    }

    /// Sends a message, when there is room; without any, waits until it has been received. Gives up at `deadline`
    /// (nanoseconds since boot; [`NEVER`](crate::time::NEVER) does not come).
    pub fn send_until<S: System>(&self, value: T, deadline: u64) -> Result<(), SendTimeoutError<T>> {
        let mut message = Some(message(value));
        let mut ticket = None;
        let most = self.bound.map_or(u64::MAX, |bound| bound.max(1) as u64);
        let in_time = self.sending.wait_while_until::<S>(deadline, || {
            self.state.with::<S, _>(|state| {
                if state.receiver_is_gone {
                    return false;
                }
                let is_full = state.put - state.taken >= most;
                if !is_full {
                    ticket = Some(state.push(&mut message));
                }
                is_full
            })
        });
        let Some(ticket) = ticket else {
            return Err(not_sent(message.expect("a message that was not sent is kept").value, in_time));
        };
        self.receiving.wake_one::<S>();
        if self.bound == Some(0) {
            return self.hand_over::<S>(ticket, deadline);
        }
        Ok(())
    }

    /// Sends a message, if there is room now; without any, if the receiver waits now.
    pub fn try_send<S: System>(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut message = Some(message(value));
        let receiver_is_gone = self.state.with::<S, _>(|state| {
            let has_room = match self.bound {
                None => true,
                Some(0) => state.receiver_waits && state.put == state.taken,
                Some(bound) => state.put - state.taken < bound as u64,
            };
            if has_room && !state.receiver_is_gone {
                state.push(&mut message);
            }
            state.receiver_is_gone
        });
        match message {
            None => {
                self.receiving.wake_one::<S>();
                Ok(())
            }
            Some(message) if receiver_is_gone => Err(TrySendError::Disconnected(message.value)),
            Some(message) => Err(TrySendError::Full(message.value)),
        }
    }

    /// Receives a message, if there is one now. None if there will never be one.
    pub fn try_receive<S: System>(&self) -> Result<Option<T>, RecvError> {
        self.receive_with::<S>(|_| {})
    }

    /// Receives a message, until `deadline` (nanoseconds since boot; [`NEVER`](crate::time::NEVER) does not come) at the latest.
    pub fn receive_until<S: System>(&self, deadline: u64) -> Result<Option<T>, RecvError> {
        let mut found = Ok(None);
        let in_time = self.receiving.wait_while_until::<S>(deadline, || {
            found = self.receive_with::<S>(|state| state.receiver_waits = true);
            matches!(found, Ok(None))
        });
        if in_time {
            return found;
        }
        // Whoever saw it wait may have relied on that until now.
        self.receive_with::<S>(|state| state.receiver_waits = false)
    }

    /// Counts one sender more.
    pub fn add_sender<S: System>(&self) {
        self.state.with::<S, _>(|state| state.senders += 1);
    }

    /// Counts one sender less.
    pub fn remove_sender<S: System>(&self) {
        let was_last = self.state.with::<S, _>(|state| {
            state.senders -= 1;
            state.senders == 0
        });
        if was_last {
            self.receiving.wake_all::<S>();
        }
    }

    /// The receiver goes: who sends is told, and nobody wants what is on its way.
    pub fn remove_receiver<S: System>(&self) {
        let unwanted = self.state.with::<S, _>(|state| {
            state.receiver_is_gone = true;
            // In a channel without room, the message is still its sender's.
            if self.bound == Some(0) { LinkedList::default() } else { mem::take(&mut state.messages) }
        });
        self.sending.wake_all::<S>();
        self.handing_over.wake_all::<S>();
        drop(unwanted);
    }

    /// Takes the first message. If there is none, runs `otherwise`.
    fn receive_with<S: System>(&self, otherwise: impl FnOnce(&mut State<T>)) -> Result<Option<T>, RecvError> {
        let (message, senders) = self.state.with::<S, _>(|state| {
            let message = state.messages.pop_front();
            match message {
                Some(_) => {
                    state.taken += 1;
                    state.receiver_waits = false;
                }
                None => otherwise(state),
            }
            (message, state.senders)
        });
        match message {
            Some(message) => {
                if self.bound.is_some() {
                    self.sending.wake_one::<S>();
                    self.handing_over.wake_all::<S>();
                }
                Ok(Some(message.value))
            }
            None if senders == 0 => Err(RecvError),
            None => Ok(None),
        }
    }

    /// Waits until the message with this ticket has been taken. If the receiver goes before that, or the time is up, the
    /// message is the one that lies in the channel, and goes back.
    fn hand_over<S: System>(&self, ticket: u64, deadline: u64) -> Result<(), SendTimeoutError<T>> {
        let mut back = None;
        let in_time = self.handing_over.wait_while_until::<S>(deadline, || {
            self.state.with::<S, _>(|state| {
                if state.receiver_is_gone {
                    back = state.take_back(ticket);
                    return false;
                }
                state.taken <= ticket
            })
        });
        if !in_time {
            back = self.state.with::<S, _>(|state| state.take_back(ticket));
            // There is room for another's.
            self.sending.wake_one::<S>();
        }
        back.map_or(Ok(()), |message| Err(not_sent(message.value, in_time)))
    }
}

impl<T> State<T> {
    /// Puts a message in, and returns its ticket: how many came before.
    fn push(&mut self, message: &mut Option<Box<Message<T>>>) -> u64 {
        self.messages.push_back(message.take().expect("a message is sent once"));
        self.put += 1;
        self.put - 1
    }

    /// Takes out the message with this ticket, of a channel without room, unless it has been taken.
    fn take_back(&mut self, ticket: u64) -> Option<Box<Message<T>>> {
        if self.taken > ticket {
            return None;
        }
        self.taken += 1;
        self.messages.pop_front()
    }
}

/// Why a message comes back.
fn not_sent<T>(message: T, in_time: bool) -> SendTimeoutError<T> {
    if in_time { SendTimeoutError::Disconnected(message) } else { SendTimeoutError::Timeout(message) }
}

fn message<T>(value: T) -> Box<Message<T>> {
    Box::new(Message { link: LinkedListLink::new(), value })
}
