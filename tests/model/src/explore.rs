//! The exploration: every state that can be reached, the nearest first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use ebbtide_core::System;

use crate::memory::{self, State};
use crate::plan::{Ended, Plan};
use crate::world::{Choice, World};

/// What was explored.
#[derive(Clone, Debug)]
pub struct Explored {
    /// States.
    pub states: usize,
    /// Steps from a state to one that may follow it.
    pub steps: usize,
    /// The longest shortest way to a state, in steps.
    pub depth: u32,
    /// How runs ended, and in how many states.
    pub ends: BTreeMap<Ended, usize>,
    /// How long it took.
    pub time: Duration,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, ends, time } = self;
        write!(f, "{states} states, {steps} steps, {depth} deep, {} ends, {:.1} s", ends.len(), time.as_secs_f64())
    }
}

/// A way to something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// What happened before, from the beginning.
    pub trace: Vec<String>,
    /// States that were seen before it was found.
    pub states: usize,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (after {} states), by this way:", self.what, self.states)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// A state that was reached, and how.
struct Reached {
    from: u32,
    by: Choice,
    depth: u32,
}

impl Plan {
    /// Explores every state of the model.
    ///
    /// # Errors
    ///
    /// Something that must not be, with the shortest way there; or there are more states than a model is to have.
    pub fn explore<S: System>(self) -> Result<Explored, Box<Violation>> {
        let most = self.most_states;
        Exploration::new(World::new::<S>(self), most).run()
    }
}

/// How many steps a trace goes on from where nothing is wrong yet.
const GOES_ON: usize = 40;

struct Exploration {
    world: &'static World,
    most: usize,
    began: Instant,
    seen: HashMap<u128, u32>,
    reached: Vec<Reached>,
    /// From which state to which: to see afterwards whether every state leads to an end.
    edges: Vec<(u32, u32)>,
    ended: Vec<u32>,
    ends: BTreeMap<Ended, usize>,
    queue: VecDeque<(u32, State)>,
}

impl Exploration {
    fn new(world: &'static World, most: usize) -> Self {
        Self {
            world,
            most,
            began: Instant::now(),
            seen: HashMap::new(),
            reached: Vec::new(),
            edges: Vec::new(),
            ended: Vec::new(),
            ends: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    fn run(mut self) -> Result<Explored, Box<Violation>> {
        self.reach(State::default(), Reached { from: 0, by: Choice::Join, depth: 0 });
        while let Some((number, state)) = self.queue.pop_front() {
            if self.reached.len() > self.most {
                // Perhaps they never end: this is one of those that are farthest away.
                return Err(self.violation(format!("more than {} states", self.most), number, None));
            }
            self.world.memory.borrow_mut().restore(&state);
            let choices = self.world.choices();
            if choices.is_empty() {
                self.end(number)?;
            }
            for choice in choices {
                self.world.memory.borrow_mut().restore(&state);
                if let Err(what) = self.world.choose(choice) {
                    return Err(self.violation(what, number, Some(choice)));
                }
                let next = self.world.memory.borrow_mut().save();
                let depth = self.reached[number as usize].depth + 1;
                let to = self.reach(next, Reached { from: number, by: choice, depth });
                self.edges.push((number, to));
            }
        }
        self.every_state_leads_to_an_end()?;
        let depth = self.reached.iter().map(|reached| reached.depth).max().unwrap_or(0);
        let (states, steps) = (self.reached.len(), self.edges.len());
        Ok(Explored { states, steps, depth, ends: self.ends, time: self.began.elapsed() })
    }

    /// Takes note of a state, if it is new, and returns its number.
    fn reach(&mut self, state: State, how: Reached) -> u32 {
        let next = self.reached.len() as u32;
        let number = *self.seen.entry(memory::number(&state)).or_insert(next);
        if number == next {
            self.reached.push(how);
            self.queue.push_back((number, state));
        }
        number
    }

    /// Nothing more can happen in a state.
    fn end(&mut self, number: u32) -> Result<(), Box<Violation>> {
        let books = self.world.books;
        let code = books.end.get().checked_sub(1);
        if code.is_none()
            && !books.cpus[..self.world.cpus.len()].iter().all(|cpu| cpu.halted.get() || cpu.stopped.get())
        {
            return Err(self.violation("a CPU waits for another one for ever".into(), number, None));
        }
        if let Err(what) = self.world.check_no_frame_lost() {
            return Err(self.violation(what, number, None));
        }
        let apps = self.world.threads.len() - self.world.cpus.len();
        let finished = books.threads[..apps].iter().map(|thread| thread.finished.get()).collect();
        let done = books.threads[..apps].iter().map(|thread| thread.done.get()).collect();
        let ended = Ended { code: code.map(|code| code as u8), finished, done };
        if let Err(what) = self.world.check_verdict(ended.code) {
            return Err(self.violation(what, number, None));
        }
        if !(self.world.judge.0)(&ended) {
            return Err(self.violation(format!("a wrong end: {ended:?}"), number, None));
        }
        *self.ends.entry(ended).or_default() += 1;
        self.ended.push(number);
        Ok(())
    }

    fn every_state_leads_to_an_end(&self) -> Result<(), Box<Violation>> {
        let mut before = vec![Vec::new(); self.reached.len()];
        for &(from, to) in &self.edges {
            before[to as usize].push(from);
        }
        let mut leads = vec![false; self.reached.len()];
        let mut open = self.ended.clone();
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut leads[state as usize], true) {
                open.extend(&before[state as usize]);
            }
        }
        match leads.iter().position(|leads| !leads) {
            Some(state) => Err(self.violation("from here on the run goes on for ever".into(), state as u32, None)),
            None => Ok(()),
        }
    }

    /// Goes the way again, and takes down what happens.
    fn violation(&self, what: String, at: u32, last: Option<Choice>) -> Box<Violation> {
        let mut way: Vec<_> = last.into_iter().collect();
        let mut state = at;
        while state != 0 {
            let Reached { from, by, .. } = self.reached[state as usize];
            way.push(by);
            state = from;
        }
        let mut memory = self.world.memory.borrow_mut();
        // What was done last was not saved.
        memory.save();
        memory.restore(&State::default());
        drop(memory);
        self.world.log.replace(Some(Vec::new()));
        for &choice in way.iter().rev() {
            // The last one fails again.
            let _again = self.world.choose(choice);
        }
        if last.is_none() {
            self.world.note(|| "and from here on, for example:".into());
            for turn in 0..GOES_ON {
                let choices = self.world.choices();
                let Some(&choice) = choices.get(turn / 8 % choices.len().max(1)) else { break };
                let _next = self.world.choose(choice);
            }
        }
        let trace = self.world.log.take().unwrap_or_default();
        Box::new(Violation { what, trace, states: self.reached.len() })
    }
}
