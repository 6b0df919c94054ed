//! The receiving end of a channel.

use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use super::channel::Channel;
use super::{RecvError, RecvTimeoutError, TryRecvError};
use crate::system::System;
use crate::time::{self, NEVER};

/// Receives what is sent into a channel: std's `Receiver`. There is one, which may go from thread to thread.
pub struct Receiver<S: System, T> {
    channel: Arc<Channel<T>>,
    system: PhantomData<fn() -> S>,
    /// One thread at a time.
    not_shared: PhantomData<Cell<()>>,
}

/// Receives until all senders are gone: std's `Iter`.
pub struct Iter<'a, S: System, T>(&'a Receiver<S, T>);

/// Receives what is there: std's `TryIter`.
pub struct TryIter<'a, S: System, T>(&'a Receiver<S, T>);

/// Receives until all senders are gone, and owns the receiver: std's `IntoIter`.
pub struct IntoIter<S: System, T>(Receiver<S, T>);

impl<S: System, T> Receiver<S, T> {
    pub(super) fn new(channel: Arc<Channel<T>>) -> Self {
        Self { channel, system: PhantomData, not_shared: PhantomData }
    }

    /// Receives a message, and waits for one if there is none.
    ///
    /// # Errors
    ///
    /// All senders are gone, and no message is left.
    pub fn recv(&self) -> Result<T, RecvError> {
        let message = self.channel.receive_until::<S>(NEVER)?;
        Ok(message.expect("who waits for ever receives"))
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    ///
    /// There is none; or all senders are gone, and no message is left.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.channel.try_receive::<S>()?.ok_or(TryRecvError::Empty)
    }

    /// Receives a message, and waits for one for `timeout` at most.
    ///
    /// # Errors
    ///
    /// None came in time; or all senders are gone, and no message is left.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.channel.receive_until::<S>(time::after::<S>(timeout))?.ok_or(RecvTimeoutError::Timeout)
    }

    /// Receives until all senders are gone, and waits in between.
    pub fn iter(&self) -> Iter<'_, S, T> {
        Iter(self)
    }

    /// Receives what is there, and never waits.
    pub fn try_iter(&self) -> TryIter<'_, S, T> {
        TryIter(self)
    }
}

impl<S: System, T> Drop for Receiver<S, T> {
    fn drop(&mut self) {
        self.channel.remove_receiver::<S>();
    }
}

impl<S: System, T> Iterator for Iter<'_, S, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<S: System, T> Iterator for TryIter<'_, S, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<S: System, T> Iterator for IntoIter<S, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, S: System, T> IntoIterator for &'a Receiver<S, T> {
    type Item = T;
    type IntoIter = Iter<'a, S, T>;

    fn into_iter(self) -> Iter<'a, S, T> {
        self.iter()
    }
}

impl<S: System, T> IntoIterator for Receiver<S, T> {
    type Item = T;
    type IntoIter = IntoIter<S, T>;

    fn into_iter(self) -> IntoIter<S, T> {
        IntoIter(self)
    }
}

impl<S: System, T> fmt::Debug for Receiver<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<S: System, T> fmt::Debug for Iter<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<S: System, T> fmt::Debug for TryIter<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryIter").finish_non_exhaustive()
    }
}

impl<S: System, T> fmt::Debug for IntoIter<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter").finish_non_exhaustive()
    }
}
