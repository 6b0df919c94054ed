//! A server with a thread for each connection, and where the memory of its stacks is: by the number of connections when all are quiet, and
//! over time when bursts of requests come.
//!
//! First the connections are opened in steps, and at each step all sleep. Then, of a burst, each request goes to another connection: its
//! thread goes as deep as the dice say, waits there as for a disk, and comes back to wait for the next one. The main thread, which has the
//! higher priority, sends the requests and looks at memory, both at fixed instants of the clock: so a run repeats exactly where that counts
//! instructions, and instants are the same under every policy.

mod connection;
mod settings;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::time::{Duration, Instant};
use ebbtide::{println, stack, thread};

use crate::memory::Memory;
use connection::Server;
use settings::Settings;

/// What happens at an instant. Where both do at the same, memory is looked at first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Look,
    Request,
}

/// What was seen at an instant.
struct Seen {
    at: Duration,
    requests: usize,
    served: usize,
    memory: Memory,
}

/// Opens connections, sends bursts of requests, and prints points and record.
pub fn run(words: &[String]) -> Result<(), String> {
    let settings = Settings::read(words)?;
    let mut server = Server::new(&settings);
    let mut asleep = Memory::default();
    for threads in &settings.steps {
        server.open(*threads)?;
        asleep = Memory::at_rest(*threads)?;
        println!("ebbtide: point series=threads threads={threads} {asleep}");
    }
    let seen = bursts(&settings, &mut server)?;
    let (threads, requests) = (server.connections(), server.requests());
    server.close()?;
    Memory::at_end(0)?;
    for Seen { at, requests, served, memory } in &seen {
        println!("ebbtide: point series=bursts at_ms={} requests={requests} served={served} {memory}", at.as_millis());
    }
    let most = seen.iter().map(|seen| seen.memory.total()).max().unwrap_or_default();
    let last = seen.last().map(|seen| seen.memory.total()).unwrap_or_default();
    println!(
        "ebbtide: record workload=server server_threads={threads} server_requests={requests} server_asleep_kib={} \
         server_most_kib={most} server_after_kib={last}",
        asleep.total()
    );
    Ok(())
}

/// Sends the bursts of requests, and looks at memory meanwhile.
fn bursts(settings: &Settings, server: &mut Server<'_>) -> Result<Vec<Seen>, String> {
    let looks = (0..settings.looks).map(|look| (settings.every * look as u32, Event::Look));
    let burst = |begin: &Duration| {
        let begin = *begin;
        (0..settings.requests).map(move |request| (begin + settings.gap * request as u32, Event::Request))
    };
    let mut events: Vec<_> = looks.chain(settings.bursts.iter().flat_map(burst)).collect();
    events.sort_unstable();
    let mut seen = Vec::with_capacity(settings.looks);
    stack::settle();
    let start = Instant::now();
    for (at, event) in events {
        thread::sleep_until(start + at);
        match event {
            Event::Request => server.request()?,
            Event::Look => {
                let late = start.elapsed() - at;
                if late >= settings.every {
                    return Err(format!("the look at {at:?} came {late:?} late: `every_ms` is too short, or `gap_us`"));
                }
                let (requests, served) = (server.requests(), server.served());
                seen.push(Seen { at, requests, served, memory: Memory::now() });
            }
        }
    }
    Ok(seen)
}
