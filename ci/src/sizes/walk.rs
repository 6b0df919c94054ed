//! A walk through a function: how deep the stack is at each instruction, and whom it calls from what depth.
//!
//! The walk proves itself: wherever two ways meet the depths must agree, and where the function returns it must be 0. What does not
//! fit is a [`Doubt`], never left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::decode::{Convention, Effect, Flow, Register, Step};

/// What a list says of a function that does what no compiler does with stacks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Leave {
    /// What its moves of the stack pointer to another stack mean.
    pub moves: Moves,
    /// Whether code that nothing leads to begins as the function does: entries of a table of vectors.
    pub stubs: bool,
}

/// What it means that the stack pointer is set to something unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Moves {
    /// Nobody knows.
    #[default]
    Unknown,
    /// What follows is on another stack.
    Leaves,
    /// What follows is on a stack that the function arrives at: what counts begins there.
    Arrives,
    /// Another thread runs, until this one is back at the same depth, in code whose address the function has taken.
    Switches,
    /// It is code of another mode of the CPU, which this tool does not read.
    Foreign,
}

/// A call, or a jump to another function.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Call {
    /// Where it is.
    pub at: u64,
    /// Bytes of stack in use there, the return address included.
    pub depth: i64,
    /// Who is called.
    pub to: Callee,
    /// Whether the stack in use is another one.
    pub elsewhere: bool,
}

/// Who is called.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Callee {
    /// The function at an address.
    At(u64),
    /// Whoever the instruction finds.
    Through(String),
}

/// What the walk does not understand, and where.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Doubt {
    /// The instruction.
    pub at: u64,
    /// What it is.
    pub what: &'static str,
}

/// What a walk has found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Walked {
    /// The most bytes of stack in use.
    pub deepest: i64,
    /// Its calls, in the order of addresses.
    pub calls: Vec<Call>,
    /// What is not understood.
    pub doubts: BTreeSet<Doubt>,
    /// Addresses that it takes, of code or data.
    pub taken: BTreeSet<u64>,
}

/// What is known where an instruction begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct State {
    depth: i64,
    elsewhere: bool,
    /// What is in registers, where that is known.
    kept: BTreeMap<Register, Value>,
    /// The depth at which a loop that touches pages ends.
    meets: Option<i64>,
}

/// What is in a register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Value {
    /// The address of a place on the stack, by its depth.
    Depth(i64),
    /// An address in the image.
    Address(u64),
}

/// What the image says beside the function's own code.
pub struct Context<'a> {
    /// What a call does.
    pub convention: Convention,
    /// Whether the function at an address may return.
    pub may_return: &'a dyn Fn(u64) -> bool,
    /// What lies at an address for as long as the image runs.
    pub constant: &'a dyn Fn(u64) -> Option<u64>,
}

/// A walk on its way.
struct Walk<'a> {
    steps: &'a [Step],
    places: HashMap<u64, usize>,
    leave: Leave,
    context: &'a Context<'a>,
    states: Vec<Option<State>>,
    open: Vec<usize>,
    calls: BTreeSet<Call>,
    /// What is known behind jumps to places that are not told: of tables, and of switches.
    jumps: Vec<State>,
    walked: Walked,
}

/// Walks through a function.
pub fn walk(steps: &[Step], leave: Leave, context: &Context<'_>) -> Walked {
    let places = steps.iter().enumerate().map(|(place, step)| (step.address, place)).collect();
    let mut walk = Walk {
        steps,
        places,
        leave,
        context,
        states: vec![None; steps.len()],
        open: Vec::new(),
        calls: BTreeSet::new(),
        jumps: Vec::new(),
        walked: Walked::default(),
    };
    if !steps.iter().all(|step| step.fills) && leave.moves != Moves::Foreign {
        walk.arrive(0, State::default());
        walk.all();
    }
    walk.walked.calls = walk.calls.into_iter().collect();
    walk.walked
}

impl Walk<'_> {
    /// Walks until nothing is left that a way leads to.
    fn all(&mut self) {
        loop {
            while let Some(place) = self.open.pop() {
                self.step(place);
            }
            let Some(place) = self.unreached() else { return };
            match self.jumps.iter().max_by_key(|state| state.depth) {
                _ if self.leave.stubs => self.arrive(place, State::default()),
                Some(state) => self.arrive(place, state.clone()),
                None => {
                    self.doubt(place, "nothing leads to this code");
                    // Once is enough, and the rest is looked at all the same.
                    self.arrive(place, State::default());
                }
            }
        }
    }

    /// The first instruction that no way has led to, but for those that fill space.
    fn unreached(&self) -> Option<usize> {
        let fills = |step: &Step| step.flow == Flow::Stop || step.fills;
        (0..self.steps.len()).find(|place| self.states[*place].is_none() && !fills(&self.steps[*place]))
    }

    fn doubt(&mut self, place: usize, what: &'static str) {
        self.walked.doubts.insert(Doubt { at: self.steps[place].address, what });
    }

    /// A way leads to an instruction.
    fn arrive(&mut self, place: usize, state: State) {
        let Some(known) = &mut self.states[place] else {
            self.states[place] = Some(state);
            self.open.push(place);
            return;
        };
        if known.depth != state.depth && !known.elsewhere && !state.elsewhere {
            self.doubt(place, "ways of different depths meet here");
            return;
        }
        let before = known.kept.len();
        known.kept.retain(|register, depth| state.kept.get(register) == Some(depth));
        if known.kept.len() < before {
            self.open.push(place);
        }
    }

    fn step(&mut self, place: usize) {
        let step = &self.steps[place];
        let Some(mut state) = self.states[place].clone() else { return };
        for effect in &step.effects {
            self.effect(place, &mut state, *effect);
        }
        if !state.elsewhere {
            self.walked.deepest = self.walked.deepest.max(state.depth);
        }
        self.flow(place, state);
    }

    fn effect(&mut self, place: usize, state: &mut State, effect: Effect) {
        match effect {
            Effect::Deeper(bytes) => state.depth += bytes,
            Effect::Keep(register, bytes) => {
                state.kept.insert(register, Value::Depth(state.depth + bytes));
            }
            Effect::Take(register, bytes) => match state.kept.get(&register) {
                Some(Value::Depth(depth)) => (state.depth, state.elsewhere) = (depth + bytes, false),
                _ => self.elsewhere(place, state),
            },
            Effect::Forget(register) => {
                state.kept.remove(&register);
            }
            Effect::Address(register, address) => {
                state.kept.insert(register, Value::Address(address));
                self.walked.taken.insert(address);
            }
            Effect::Load(register, address) => match (self.context.constant)(address) {
                Some(address) => drop(state.kept.insert(register, Value::Address(address))),
                None => drop(state.kept.remove(&register)),
            },
            Effect::Meet(register) => {
                state.meets = match state.kept.get(&register) {
                    Some(Value::Depth(depth)) => Some(*depth),
                    _ => None,
                };
            }
            Effect::Elsewhere => self.elsewhere(place, state),
        }
    }

    fn elsewhere(&mut self, place: usize, state: &mut State) {
        match self.leave.moves {
            Moves::Unknown => {
                self.doubt(place, "the stack pointer is moved by what only a run tells");
                state.elsewhere = true;
            }
            Moves::Leaves => state.elsewhere = true,
            Moves::Arrives => state.depth = 0,
            Moves::Switches | Moves::Foreign => {}
        }
    }

    fn flow(&mut self, place: usize, state: State) {
        let step = &self.steps[place];
        match &step.flow {
            Flow::Next => self.next(place, state),
            Flow::Stop | Flow::Resume => {}
            Flow::Unknown => {
                self.doubt(place, "no instruction that is known");
                self.next(place, state);
            }
            Flow::Jump(target) => self.jump(place, *target, state),
            Flow::Branch(target) => self.branch(place, *target, state),
            Flow::Call(target) => self.call(place, Callee::At(*target), state),
            Flow::CallAt(address) => self.call(place, self.found_at(*address), state),
            Flow::CallThrough { text, register } => self.call(place, in_register(&state, *register, text), state),
            Flow::JumpAt(address) => self.leaves(place, self.found_at(*address), &state),
            Flow::JumpThrough { table: true, .. } => self.jumps.push(state),
            Flow::JumpThrough { .. } if self.leave.moves == Moves::Switches => self.resumes(&state),
            Flow::JumpThrough { text, register, .. } => {
                self.leaves(place, in_register(&state, *register, text), &state)
            }
            Flow::Return => {
                if state.depth != 0 && !state.elsewhere {
                    self.doubt(place, "it returns from another depth than it came");
                }
            }
        }
    }

    /// Another thread runs, or another code segment is the current one; it goes on where the function has taken an address of its own.
    fn resumes(&mut self, state: &State) {
        let own = self.walked.taken.iter().filter_map(|address| self.places.get(address).copied());
        for place in own.collect::<Vec<_>>() {
            let known = State { kept: BTreeMap::new(), ..state.clone() };
            self.arrive(place, known);
        }
    }

    fn found_at(&self, address: u64) -> Callee {
        let in_memory = || Callee::Through(format!("[{address:#x}]"));
        (self.context.constant)(address).map_or_else(in_memory, Callee::At)
    }

    fn next(&mut self, place: usize, mut state: State) {
        if !self.steps[place].effects.iter().any(|effect| matches!(effect, Effect::Meet(_))) && !self.keeps_flags(place)
        {
            state.meets = None;
        }
        match self.steps.get(place + 1) {
            Some(next) if next.address == self.steps[place].end() => self.arrive(place + 1, state),
            // A call that ends a function is one of what does not return.
            _ if matches!(self.steps[place].flow, Flow::CallThrough { .. } | Flow::CallAt(_)) => {}
            _ => self.doubt(place, "it runs past its end"),
        }
    }

    /// Between the comparison and the branch of a loop that touches pages stands the touch.
    fn keeps_flags(&self, place: usize) -> bool {
        self.steps[place].effects.is_empty() && self.steps[place].flow == Flow::Next
    }

    fn branch(&mut self, place: usize, target: u64, mut state: State) {
        match state.meets.take() {
            Some(end) if target <= self.steps[place].address => {
                self.walked.deepest = self.walked.deepest.max(end);
                state.depth = end;
            }
            _ => self.jump(place, target, state.clone()),
        }
        self.next(place, state);
    }

    fn jump(&mut self, place: usize, target: u64, mut state: State) {
        state.meets = None;
        match self.places.get(&target) {
            Some(target) => self.arrive(*target, state),
            None => self.leaves(place, Callee::At(target), &state),
        }
    }

    /// A jump to another function, which returns in this one's stead.
    fn leaves(&mut self, place: usize, to: Callee, state: &State) {
        self.calls.insert(Call { at: self.steps[place].address, depth: state.depth, to, elsewhere: state.elsewhere });
    }

    fn call(&mut self, place: usize, to: Callee, mut state: State) {
        let depth = state.depth + self.context.convention.call_bytes;
        let goes_on = match to {
            Callee::At(address) => (self.context.may_return)(address),
            Callee::Through(_) => true,
        };
        if !state.elsewhere {
            self.walked.deepest = self.walked.deepest.max(depth);
        }
        self.calls.insert(Call { at: self.steps[place].address, depth, to, elsewhere: state.elsewhere });
        if goes_on {
            state.kept.retain(|register, _| !self.context.convention.changes.contains(register));
            self.next(place, state);
        }
    }
}

/// Whoever is called through a register.
fn in_register(state: &State, register: Option<Register>, text: &str) -> Callee {
    match register.and_then(|register| state.kept.get(&register)) {
        Some(Value::Address(address)) => Callee::At(*address),
        _ => Callee::Through(text.to_owned()),
    }
}
