//! What the guest tells: a line for all, one for each CPU and each of the threads with the most frames, and one that ends it.
//!
//! ```text
//! ebbtide: top all ms=1500 running=2 ready=1 blocked=7 ended=0 populated=25 resting=3 empty=80 free=64000 frames=65280
//! ebbtide: top cpu number=0 runs=9 cache=12 reserved=0 switches=310 rested=20 freed=4 parked=0 idle=15
//! ebbtide: top thread id=9 name=main state=blocked priority=16 populated=1 resting=0 empty=15 deepest=832
//! ebbtide: top end
//! ```

use anyhow::{Result, bail};

use crate::told::{fields, number};

/// How such a line begins.
pub const MARK: &str = "ebbtide: top ";

/// How the guest was at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// Milliseconds since boot.
    pub ms: u64,
    /// Threads that run, are ready, are blocked, have ended.
    pub states: [u64; 4],
    /// Pages of all their stacks.
    pub pages: Pages,
    /// Frames that are free.
    pub free: u64,
    /// Frames that there are.
    pub frames: u64,
    /// The CPUs.
    pub cpus: Vec<Cpu>,
    /// The threads with the most frames.
    pub threads: Vec<Thread>,
}

/// Pages of stacks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pages {
    pub populated: u64,
    pub resting: u64,
    pub empty: u64,
}

/// A CPU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cpu {
    pub number: u64,
    /// The number of the thread that runs.
    pub runs: u64,
    /// Frames in its stack cache, and in its fault reserve.
    pub cache: u64,
    pub reserved: u64,
    pub switches: u64,
    /// Pages that it has rested, and freed.
    pub rested: u64,
    pub freed: u64,
    /// Threads that had to wait for frames.
    pub parked: u64,
    /// How often it went idle.
    pub idle: u64,
}

/// A thread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Thread {
    pub id: u64,
    pub name: String,
    pub state: String,
    pub priority: u64,
    pub pages: Pages,
    /// The deepest that it was seen, in bytes.
    pub deepest: u64,
}

/// What is read of a snapshot so far.
#[derive(Debug, Default)]
pub struct Reader(Option<Snapshot>);

impl Reader {
    /// Takes a line without its [`MARK`]. Returns the snapshot that it ends.
    ///
    /// # Errors
    ///
    /// The line is not as it has to be, or not in its place.
    pub fn take(&mut self, line: &str) -> Result<Option<Snapshot>> {
        match (line.split_once(' ').unwrap_or((line, "")), &mut self.0) {
            (("all", rest), _) => self.0 = Some(all(rest)?),
            (("cpu", rest), Some(snapshot)) => snapshot.cpus.push(cpu(rest)?),
            (("thread", rest), Some(snapshot)) => snapshot.threads.push(thread(rest)?),
            (("end", ""), Some(_)) => return Ok(self.0.take()),
            (("cpu" | "thread" | "end", _), None) => bail!("it comes before `all`"),
            ((word, _), _) => bail!("`{word}` is none of `all`, `cpu`, `thread` and `end`"),
        }
        Ok(None)
    }
}

fn all(line: &str) -> Result<Snapshot> {
    let keys = ["ms", "running", "ready", "blocked", "ended", "populated", "resting", "empty", "free", "frames"];
    let [ms, running, ready, blocked, ended, populated, resting, empty, free, frames] = numbers(line, keys)?;
    let (states, pages) = ([running, ready, blocked, ended], Pages { populated, resting, empty });
    Ok(Snapshot { ms, states, pages, free, frames, ..Snapshot::default() })
}

fn cpu(line: &str) -> Result<Cpu> {
    let keys = ["number", "runs", "cache", "reserved", "switches", "rested", "freed", "parked", "idle"];
    let [number, runs, cache, reserved, switches, rested, freed, parked, idle] = numbers(line, keys)?;
    Ok(Cpu { number, runs, cache, reserved, switches, rested, freed, parked, idle })
}

fn thread(line: &str) -> Result<Thread> {
    let keys = ["id", "name", "state", "priority", "populated", "resting", "empty", "deepest"];
    let [id, name, state, priority, populated, resting, empty, deepest] = fields(line, keys)?;
    Ok(Thread {
        id: number(id)?,
        name: name.to_owned(),
        state: state.to_owned(),
        priority: number(priority)?,
        pages: Pages { populated: number(populated)?, resting: number(resting)?, empty: number(empty)? },
        deepest: number(deepest)?,
    })
}

fn numbers<const N: usize>(line: &str, keys: [&str; N]) -> Result<[u64; N]> {
    let mut values = [0; N];
    for (value, text) in values.iter_mut().zip(fields(line, keys)?) {
        *value = number(text)?;
    }
    Ok(values)
}
