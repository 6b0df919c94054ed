//! Channels between threads: std's `mpsc`.

mod channel;
mod error;
mod receiver;
mod sender;

pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use sender::{Sender, SyncSender};

use alloc::sync::Arc;

use channel::Channel;

use crate::system::System;

/// Creates a channel with room for any number of messages: who sends never waits.
pub fn channel<S: System, T>() -> (Sender<S, T>, Receiver<S, T>) {
    let channel = Arc::new(Channel::new(None));
    (Sender::new(Arc::clone(&channel)), Receiver::new(channel))
}

/// Creates a channel with room for `bound` messages. With 0, who sends waits until the message has been received.
pub fn sync_channel<S: System, T>(bound: usize) -> (SyncSender<S, T>, Receiver<S, T>) {
    let channel = Arc::new(Channel::new(Some(bound)));
    (SyncSender::new(Arc::clone(&channel)), Receiver::new(channel))
}
