//! A thread of user mode that makes calls: any number, any arguments, anything in the other registers and in the stack pointer.
//!
//! Only what would leave the thread waiting, end it, or fill the console is kept from chance.

use core::sync::atomic::AtomicU32;

use fastrand::Rng;

use ebbtide::provoke::{self, Answer, CallRegisters};
use ebbtide::user::{Call, Error};

use crate::places::{NO_TEXT, Places};
use crate::plan::Plan;
use crate::tally::{Other, Tally};

/// The longest that a call of a worker waits, in nanoseconds.
const SHORT_NS: u64 = 5_000;

/// What a worker shares with the threads that it spawns. It stays until those that know of it have ended.
#[derive(Debug)]
pub struct Shared {
    pub tally: Tally,
    pub plan: Plan,
    /// Not 0 once those that wait for it may end.
    pub open: AtomicU32,
}

/// A call's number and arguments.
type Drawn = (u64, [u64; 5]);

/// Calls that are drawn before they are made, one right after the other. Each costs the CPU all the translations that it knows,
/// so whatever stands between two calls is dear.
const BATCH: usize = 32;

/// A thread that makes calls.
pub struct Caller<'a> {
    pub shared: &'a Shared,
    pub places: Places<'a>,
    drawn: heapless::Vec<CallRegisters, BATCH>,
    /// The thread's own number.
    id: u64,
    /// What it keeps in its floating-point registers; every other thread touches none.
    floats: Option<u64>,
}

impl<'a> Caller<'a> {
    pub fn new(shared: &'a Shared, seed: u64) -> Self {
        let places = Places { rng: Rng::with_seed(seed), plan: &shared.plan, heap_end: 0 };
        let floats = seed.is_multiple_of(2).then_some(seed);
        let mut this = Self { shared, places, drawn: heapless::Vec::new(), id: 0, floats };
        let arguments = this.with_any([0]);
        this.id = this.make(Call::Id, arguments).unwrap_or(0);
        this
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.places.rng.u64(0..limit)
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.places.one_in(n)
    }

    fn registers(&mut self, number: u64, arguments: [u64; 5]) -> CallRegisters {
        let (first, step) = (self.places.any(), self.places.rng.u64(..));
        let others = core::array::from_fn(|register| first.wrapping_add(step.wrapping_mul(register as u64)));
        CallRegisters { number, arguments, others, stack_pointer: self.places.any(), flags: self.places.rng.u64(..) }
    }

    /// Counts a call by what came of it.
    fn note(&self, number: u64, (answer, changed): (Answer, u64)) -> Result<u64, Error> {
        let result = match answer.error {
            0 => Ok(answer.value),
            error => Err(Error::from_number(error)),
        };
        let tally = &self.shared.tally;
        tally.note(number, result);
        if changed != 0 {
            tally.note_other(Other::Register);
        }
        if result.is_err_and(|error| error as u64 != answer.error || answer.value != 0) {
            tally.note_other(Other::Answer);
        }
        result
    }

    /// Makes the calls that were drawn.
    pub fn make_drawn(&mut self) {
        let mut answers = heapless::Vec::<_, BATCH>::new();
        let mut call = || answers.extend(self.drawn.iter().map(provoke::call_kernel_with));
        let kept = match self.floats {
            Some(pattern) => provoke::float_registers_survive(pattern, call),
            None => {
                call();
                true
            }
        };
        if !kept {
            self.shared.tally.note_other(Other::Register);
        }
        for (registers, answer) in self.drawn.iter().zip(answers) {
            let _ = self.note(registers.number, answer);
        }
        self.drawn.clear();
    }

    /// Makes a call that must end the thread. It is counted before.
    pub fn last_call(&mut self, call: Call, arguments: [u64; 5]) -> ! {
        self.make_drawn();
        loop {
            self.shared.tally.note_end(call as u64);
            let registers = self.registers(call as u64, arguments);
            let _ = provoke::call_kernel_with(&registers);
            self.shared.tally.note_other(Other::Answer);
        }
    }

    /// Does what ends the thread.
    pub fn fault(&mut self) -> ! {
        let registers = self.registers(0, [0; 5]);
        provoke::fault_with(&registers)
    }

    /// Makes a call now.
    pub fn make(&mut self, call: Call, arguments: [u64; 5]) -> Result<u64, Error> {
        let registers = self.registers(call as u64, arguments);
        self.note(call as u64, provoke::call_kernel_with(&registers))
    }

    /// Arguments of which only the first ones matter.
    pub fn with_any<const N: usize>(&mut self, first: [u64; N]) -> [u64; 5] {
        core::array::from_fn(|number| first.get(number).copied().unwrap_or_else(|| self.places.any()))
    }

    /// Draws one call that any thread can make, and makes those that were drawn when they are enough. None of them waits for long.
    pub fn step(&mut self) {
        let (number, arguments) = match self.below(64) {
            0..4 => self.any_arguments(Call::Null),
            4..8 => self.any_arguments(Call::Clock),
            8..15 => self.any_arguments(Call::FutexWake),
            15 if self.one_in(2) => self.any_arguments(Call::Yield),
            15 => self.wait(),
            16..25 => self.unknown(),
            25..30 => self.write(),
            30..33 => self.panic_in_vain(),
            33..41 => self.wait_for_word(),
            41..48 => self.identify(),
            48..56 => self.unpark(),
            56..60 => self.ask_for_memory(),
            _ => self.join_nobody(),
        };
        let registers = self.registers(number, arguments);
        // There is room: it is made when the last place is taken.
        let _ = self.drawn.push(registers);
        if self.drawn.is_full() {
            self.make_drawn();
        }
    }

    fn any_arguments(&mut self, call: Call) -> Drawn {
        self.drawn(call, [])
    }

    fn drawn<const N: usize>(&mut self, call: Call, first: [u64; N]) -> Drawn {
        (call as u64, self.with_any(first))
    }

    fn unknown(&mut self) -> Drawn {
        let last = Call::ALL.len() as u64;
        let valid = self.below(last);
        let number = match self.below(5) {
            0 => last + valid,
            // What a register's half would make of it.
            1 => valid | 1 << 32,
            2 => valid | 1 << 63,
            3 => !valid,
            _ => self.places.any().max(last),
        };
        (number, self.with_any([]))
    }

    fn write(&mut self) -> Drawn {
        let (address, bytes) = match self.below(16) {
            // What is read is no text, in the image and in this thread's memory.
            0..3 => ((&raw const NO_TEXT).addr() as u64, self.below(NO_TEXT.len() as u64) + 1),
            3 => ((&raw const NO_TEXT).addr() as u64, self.places.length().max(1)),
            4..6 => self.places.straddling(),
            6..9 => (self.places.unreadable(), self.places.length()),
            9 if self.one_in(64) => ("~\n".as_ptr().addr() as u64, 2),
            10 if self.one_in(512) => (LONG_LINE.as_ptr().addr() as u64, LONG_LINE.len() as u64),
            11..14 => (self.places.own(), 0),
            _ => (self.places.any(), 0),
        };
        self.drawn(Call::Write, [address, bytes])
    }

    fn panic_in_vain(&mut self) -> Drawn {
        let (address, bytes) = match self.below(4) {
            0 => ((&raw const NO_TEXT).addr() as u64, self.below(256) + 1),
            1 => (self.places.any(), 257 + self.below(1 << 40)),
            2 => (self.places.any(), u64::MAX - self.below(1 << 40)),
            _ => (self.places.unreadable(), self.places.length().max(1)),
        };
        self.drawn(Call::Panic, [address, bytes])
    }

    fn wait_for_word(&mut self) -> Drawn {
        let address = match self.below(4) {
            0 => (&raw const self.shared.open).addr() as u64,
            1 => self.places.own() & !3,
            2 => self.places.unreadable() & !3,
            _ => self.places.any(),
        };
        // No word has such a value, so it does not matter for how long.
        let (value, most) = match self.below(3) {
            0 => (1 << self.below(32), self.below(SHORT_NS)),
            1 => (self.below(2), self.below(SHORT_NS)),
            _ => (self.places.any() | 1 << (32 + self.below(32)), self.places.any()),
        };
        self.drawn(Call::FutexWait, [address, value, most])
    }

    fn identify(&mut self) -> Drawn {
        let first = if self.one_in(2) { 0 } else { self.places.any() };
        self.drawn(Call::Id, [first])
    }

    fn unpark(&mut self) -> Drawn {
        let others = self.shared.plan.others;
        let whom = match self.below(4) {
            0 => self.places.pick(&others),
            1 => self.id,
            // One that began a little earlier or later than these.
            2 => others[0] + self.below(256),
            _ => self.places.any(),
        };
        self.drawn(Call::Unpark, [whom])
    }

    /// Asks for memory, of which there is none left, or for so little that it matters to nobody.
    fn ask_for_memory(&mut self) -> Drawn {
        if self.one_in(64) {
            // What was drawn reckons with the memory that there is.
            self.make_drawn();
            let bytes = 1 + self.below(8 << 10);
            let _ = self.take_memory(bytes);
        }
        let bytes = match self.below(4) {
            0 => 0,
            1 => u64::MAX - self.below(8 << 10),
            _ => (16 << 20) + self.places.any() / 2,
        };
        self.drawn(Call::Memory, [bytes])
    }

    /// Takes memory, if there is some.
    pub fn take_memory(&mut self, bytes: u64) -> Result<(), Error> {
        let arguments = self.with_any([bytes]);
        self.places.heap_end = self.make(Call::Memory, arguments)?;
        Ok(())
    }

    fn join_nobody(&mut self) -> Drawn {
        let handle = self.places.any().max(1 << 12);
        self.drawn(Call::Join, [handle])
    }

    fn wait(&mut self) -> Drawn {
        let call = if self.one_in(2) { Call::Sleep } else { Call::Park };
        let nanoseconds = self.below(SHORT_NS);
        self.drawn(call, [nanoseconds])
    }
}

/// A line that is written in several parts, with characters that lie across their borders.
const LONG_LINE: &str = concat!(
    "~äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöü",
    "\n"
);
