//! The sending ends of a channel.

use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use super::channel::Channel;
use super::{SendError, SendTimeoutError, TrySendError};
use crate::system::System;
use crate::time::{self, NEVER};

/// Sends into a channel that has always room: std's `Sender`. There may be many, in any thread.
pub struct Sender<S: System, T>(End<S, T>);

/// Sends into a channel that may be full: std's `SyncSender`. There may be many, in any thread.
pub struct SyncSender<S: System, T>(End<S, T>);

/// A sender that is counted.
struct End<S: System, T> {
    channel: Arc<Channel<T>>,
    system: PhantomData<fn() -> S>,
}

impl<S: System, T> Sender<S, T> {
    pub(super) fn new(channel: Arc<Channel<T>>) -> Self {
        Self(End { channel, system: PhantomData })
    }

    /// Sends a message. It never waits.
    ///
    /// # Errors
    ///
    /// The receiver is gone: the message is given back.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        Ok(self.0.channel.send_until::<S>(message, NEVER)?)
    }
}

impl<S: System, T> SyncSender<S, T> {
    pub(super) fn new(channel: Arc<Channel<T>>) -> Self {
        Self(End { channel, system: PhantomData })
    }

    /// Sends a message, and waits until there is room for it; in a channel without room, until it has been received.
    ///
    /// # Errors
    ///
    /// The receiver is gone: the message is given back.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        Ok(self.0.channel.send_until::<S>(message, NEVER)?)
    }

    /// Sends a message like [`SyncSender::send`], and waits for `timeout` at most. std's is unstable so far.
    ///
    /// # Errors
    ///
    /// The time is up, or the receiver is gone: the message is given back.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.0.channel.send_until::<S>(message, time::after::<S>(timeout))
    }

    /// Sends a message if that needs no waiting.
    ///
    /// # Errors
    ///
    /// The receiver is gone, or there is no room; or, in a channel without any, nobody waits to receive. The message is
    /// given back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.channel.try_send::<S>(message)
    }
}

impl<S: System, T> Clone for End<S, T> {
    fn clone(&self) -> Self {
        self.channel.add_sender::<S>();
        Self { channel: Arc::clone(&self.channel), system: PhantomData }
    }
}

impl<S: System, T> Drop for End<S, T> {
    fn drop(&mut self) {
        self.channel.remove_sender::<S>();
    }
}

impl<S: System, T> Clone for Sender<S, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: System, T> Clone for SyncSender<S, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: System, T> fmt::Debug for Sender<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<S: System, T> fmt::Debug for SyncSender<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}
