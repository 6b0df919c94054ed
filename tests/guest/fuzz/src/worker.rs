//! A worker: a thread of user mode that makes as many calls as it is told to, spawns others and joins them.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use ebbtide::user::{Call, Error};

use crate::caller::{Caller, Shared};
use crate::child::{Role, child, errand};
use crate::places::NO_TEXT;
use crate::plan::{Kind, Plan};
use crate::tally::{NUMBERS, Other, Tally};

/// Children that a worker has at a time.
const FEW: usize = 16;

/// Most children of one that spawns as many as it can: more than the kernel grants.
const MANY: usize = 1100;

/// Children of one that has them all compute at the same time.
const CROWD: usize = 100;

/// Most bytes of an argument and of a result.
const MOST_BYTES: usize = 4096;

/// Threads that one worker has end badly, each way: every one is reported on the console.
const BAD_ENDS: u32 = 1;

/// A child that was not joined yet.
struct Child {
    handle: u64,
    id: u64,
    result_bytes: u64,
}

struct Worker<'a> {
    caller: Caller<'a>,
    children: Vec<Child>,
    /// Where results go.
    results: [u8; MOST_BYTES],
    panics_left: u32,
    faults_left: u32,
}

/// Makes the calls of a plan; returns the tally.
pub fn work(plan: Plan) -> [u32; NUMBERS] {
    let shared = Shared { tally: Tally::new(), plan, open: AtomicU32::new(0) };
    let mut children = Vec::new();
    // Others may have taken all the memory: then it has few children, or none.
    let _ = children.try_reserve_exact(MANY).or_else(|_| children.try_reserve_exact(FEW));
    let mut worker = Worker {
        caller: Caller::new(&shared, plan.seed),
        children,
        results: [0; MOST_BYTES],
        panics_left: BAD_ENDS,
        faults_left: BAD_ENDS,
    };
    worker.run(plan);
    shared.tally.numbers()
}

impl Worker<'_> {
    fn run(&mut self, plan: Plan) {
        for number in 0..plan.calls {
            if number == plan.calls / 2 {
                match plan.kind() {
                    Kind::Plain => {}
                    Kind::Hungry => self.take_all_memory(),
                    Kind::Fertile => self.spawn_many(),
                    Kind::Crowded => self.crowd(),
                }
            }
            match self.caller.below(256) {
                0..8 => self.spawn_in_vain(),
                8 => self.spawn_well(),
                9 => self.join_one(),
                10 => self.name_child(),
                11 => self.end_child_badly(),
                _ => self.caller.step(),
            }
        }
        self.join_all();
        self.caller.make_drawn();
    }

    fn take_all_memory(&mut self) {
        self.caller.make_drawn();
        for bytes in [1 << 20, 64 << 10, 4 << 10, 1] {
            let mut is_more = true;
            while is_more {
                is_more = self.caller.take_memory(bytes).is_ok();
            }
        }
    }

    /// Spawns until there is no memory: they all wait for the same word, and then end at the same time, with large results.
    fn spawn_many(&mut self) {
        self.spawn_up_to(MANY, Role::Waits);
        for _ in 0..self.children.len() {
            self.caller.step();
        }
        self.join_all();
    }

    /// Has threads wake when there is no memory left, for all of them at the same time.
    fn crowd(&mut self) {
        self.spawn_up_to(CROWD, Role::Computes);
        self.take_all_memory();
        self.open();
        // Nobody asks for their results until they have ended.
        let arguments = self.caller.with_any([1_500_000_000]);
        let _ = self.caller.make(Call::Sleep, arguments);
        self.join_all();
    }

    /// Spawns so many that wait for the word, or as many as there is memory for.
    fn spawn_up_to(&mut self, most: usize, role: Role) {
        self.join_all();
        self.caller.shared.open.store(0, Ordering::Release);
        for _ in 0..most.min(self.children.capacity()) {
            if self.spawn(role, MOST_BYTES as u64).is_err() {
                break;
            }
        }
    }

    fn spawn(&mut self, role: Role, result_bytes: u64) -> Result<(), Error> {
        let salt = self.caller.places.rng.u8(..);
        let (place, bytes) = match self.caller.below(3) {
            0 => ((&raw const NO_TEXT).addr() as u64, MOST_BYTES as u64),
            1 => (self.results.as_ptr().addr() as u64, self.caller.below(MOST_BYTES as u64 + 1)),
            _ => (self.caller.places.own(), 0),
        };
        let begin = match role {
            // Where nothing can be executed, or nothing lies.
            Role::Faults if salt < 64 => {
                self.caller.places.pick(&[(&raw const NO_TEXT).addr() as u64 + 1, 8, 0x7fff_ffff_e000])
            }
            _ => child as extern "C" fn(u64, u64, u64) -> ! as usize as u64,
        };
        let first = errand(role, salt, self.caller.shared);
        let handle = self.caller.make(Call::Spawn, [begin, first, place, bytes, result_bytes])?;
        self.caller.shared.tally.note_other(Other::Spawned);
        if role != Role::Stranger || salt.is_multiple_of(2) {
            let arguments = self.caller.with_any([handle + 1]);
            let id = self.caller.make(Call::Id, arguments)?;
            self.children.push(Child { handle, id, result_bytes });
        }
        Ok(())
    }

    fn spawn_well(&mut self) {
        if self.is_full() {
            return self.join_one();
        }
        let role = self.caller.places.pick(&[Role::Stranger, Role::Calls, Role::Calls, Role::Parks, Role::Waits]);
        if matches!(role, Role::Parks | Role::Waits) {
            self.caller.shared.open.store(0, Ordering::Release);
        }
        let result_bytes = self.caller.below(MOST_BYTES as u64 + 1);
        let _ = self.spawn(role, result_bytes);
    }

    fn end_child_badly(&mut self) {
        let left = [(Role::Panics, self.panics_left), (Role::Faults, self.faults_left)];
        let Some((role, _)) = left.into_iter().find(|(_, left)| *left > 0) else { return self.caller.step() };
        if !self.caller.one_in(16) || self.is_full() {
            return self.caller.step();
        }
        match role {
            Role::Panics => self.panics_left -= 1,
            _ => self.faults_left -= 1,
        }
        let _ = self.spawn(role, 0);
    }

    /// Arguments of which one at least forbids it.
    fn spawn_in_vain(&mut self) {
        let begin = child as extern "C" fn(u64, u64, u64) -> ! as usize as u64;
        let places = &mut self.caller.places;
        let function = places.any();
        let arguments = match places.rng.u8(0..5) {
            0 => [begin, function, places.any(), MOST_BYTES as u64 + 1 + places.length() / 2, places.length()],
            1 => [begin, function, places.any(), 0, MOST_BYTES as u64 + 1 + places.length() / 2],
            2 => [begin, function, places.unreadable(), places.rng.u64(1..=MOST_BYTES as u64), 0],
            3 => {
                let (place, bytes) = places.straddling();
                [begin, function, place, bytes, 8]
            }
            // No address that user mode goes to: above the lower half.
            _ => [0x7fff_ffff_f000 + places.rng.u64(..) / 2, function, places.any(), 8, 8],
        };
        let _ = self.caller.make(Call::Spawn, arguments);
    }

    /// Says whether it has as many children as it should.
    fn is_full(&self) -> bool {
        self.children.len() >= self.children.capacity().min(FEW)
    }

    fn name_child(&mut self) {
        let Some(handle) = self.any_child().map(|at| self.children[at].handle) else { return self.caller.step() };
        let arguments = self.caller.with_any([handle + 1]);
        let _ = self.caller.make(Call::Id, arguments);
    }

    fn any_child(&mut self) -> Option<usize> {
        (!self.children.is_empty()).then(|| self.caller.places.rng.usize(0..self.children.len()))
    }

    /// Lets all end that wait for it.
    fn open(&mut self) {
        let word = (&raw const self.caller.shared.open).addr() as u64;
        self.caller.shared.open.store(1, Ordering::Release);
        let arguments = self.caller.with_any([word, u64::MAX]);
        let _ = self.caller.make(Call::FutexWake, arguments);
        for at in 0..self.children.len().min(FEW) {
            let arguments = self.caller.with_any([self.children[at].id]);
            let _ = self.caller.make(Call::Unpark, arguments);
        }
    }

    fn join_one(&mut self) {
        let Some(at) = self.any_child() else { return self.caller.step() };
        self.open();
        let child = self.children.swap_remove(at);
        let place = match self.caller.below(4) {
            0 => self.caller.places.unreadable(),
            1 => self.caller.places.in_image(),
            _ => self.results.as_mut_ptr().expose_provenance() as u64,
        };
        let bytes = if self.caller.one_in(4) { self.caller.places.length() } else { child.result_bytes };
        let arguments = self.caller.with_any([child.handle, place, bytes]);
        let _ = self.caller.make(Call::Join, arguments);
    }

    fn join_all(&mut self) {
        for _ in 0..self.children.len() {
            self.join_one();
        }
    }
}
