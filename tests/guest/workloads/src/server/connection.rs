//! Connections: each has a thread, which waits for requests and serves them one after the other.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use ebbtide::sync::Arc;
use ebbtide::sync::mpsc::{Sender, channel};
use ebbtide::thread::{self, Builder, JoinHandle, Priority};
use ebbtide_figures::Dice;

use super::settings::Settings;
use crate::depths;

/// Below that of the main thread, whose instants are not to depend on how much the connections have to do.
const PRIORITY: Priority = Priority::new(8).expect("a level that there is");

/// A connection that is open. A request is the depth, in bytes.
struct Connection {
    requests: Sender<usize>,
    thread: JoinHandle<()>,
}

/// The connections, and what they are asked.
pub struct Server<'a> {
    settings: &'a Settings,
    connections: Vec<Connection>,
    /// The order in which connections get requests.
    order: Vec<usize>,
    dice: Dice,
    requests: usize,
    served: Arc<AtomicUsize>,
}

impl<'a> Server<'a> {
    pub fn new(settings: &'a Settings) -> Self {
        let dice = Dice(settings.seed);
        let served = Arc::new(AtomicUsize::new(0));
        Self { settings, connections: Vec::new(), order: Vec::new(), dice, requests: 0, served }
    }

    /// Opens more connections until there are so many.
    pub fn open(&mut self, count: usize) -> Result<(), String> {
        for number in self.connections.len()..count {
            let (sender, receiver) = channel();
            let (served, wait) = (Arc::clone(&self.served), self.settings.wait);
            let serve_all = move || {
                for depth in receiver {
                    depths::go(depth, &mut || thread::sleep(wait));
                    served.fetch_add(1, Ordering::Release);
                }
            };
            let thread = Builder::new().priority(PRIORITY).spawn(serve_all);
            let thread = thread.map_err(|error| format!("connection {number} of {count}: {error}"))?;
            self.connections.push(Connection { requests: sender, thread });
        }
        Ok(())
    }

    /// Sends the next request, as deep as the dice say: to the next connection of an order that they make, too, so that all have had one
    /// before one has its second.
    pub fn request(&mut self) -> Result<(), String> {
        if self.order.is_empty() {
            self.order = (0..self.connections.len()).collect();
            for place in (1..self.order.len()).rev() {
                self.order.swap(place, self.dice.below(place as u64 + 1) as usize);
            }
        }
        let depth = self.settings.depths.draw(&mut self.dice);
        let connection = self.order[self.requests % self.order.len()];
        self.requests += 1;
        self.connections[connection].requests.send(depth).map_err(|error| error.to_string())
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Requests that were sent.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Requests that were served.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }

    /// Closes all connections, once all requests are served.
    pub fn close(self) -> Result<(), String> {
        for Connection { requests, thread } in self.connections {
            drop(requests);
            thread.join().map_err(|_| "a connection's thread panicked".to_string())?;
        }
        let served = self.served.load(Ordering::Acquire);
        if served == self.requests {
            Ok(())
        } else {
            Err(format!("{served} requests of {} were served", self.requests))
        }
    }
}
