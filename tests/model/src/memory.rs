//! Memory that is saved and restored: all that a state of the model consists of.
//!
//! Whatever the kernel, its threads and the model itself may change lies in places that are fixed when a model is built. A
//! state is what differs there, word by word, from what it was then.
#![expect(unsafe_code, reason = "saves and restores memory behind its owners' backs")]

use std::ptr::NonNull;

/// A state: the words that differ, by number, in order.
pub(crate) type State = Box<[(u32, u64)]>;

/// The places.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    places: Vec<Place>,
    /// What was there at first.
    first: Vec<u64>,
    /// What was saved or restored last.
    last: State,
}

#[derive(Debug)]
struct Place {
    start: NonNull<u64>,
    words: usize,
}

impl Memory {
    /// Makes a value part of the state, for as long as the model's process lives.
    pub fn keep<T>(&mut self, value: T) -> &'static T {
        const { assert!(align_of::<T>() >= 8 && size_of::<T>().is_multiple_of(8), "a place is made of words") };
        let value: &'static T = Box::leak(Box::new(value));
        self.keep_at(NonNull::from(value).cast(), size_of::<T>() / 8);
        value
    }

    /// Makes words part of the state that lie somewhere for good, and that nobody's compiler takes for unchanging: atomics,
    /// cells, what pointers lead to, and stacks of coroutines that do not run while a state is saved or restored.
    pub fn keep_at(&mut self, start: NonNull<u64>, words: usize) {
        self.places.push(Place { start, words });
    }

    /// Takes what is there now for what was there at first.
    pub fn begin(&mut self) {
        self.first = self.places.iter().flat_map(Place::now).copied().collect();
        self.last = State::default();
    }

    /// Saves the state.
    pub fn save(&mut self) -> State {
        let mut state = Vec::with_capacity(self.last.len() + 16);
        let mut number = 0;
        for place in &self.places {
            let now = place.now();
            let first = &self.first[number..number + now.len()];
            // Most of it is as it was.
            for (few, (now, first)) in now.chunks(CHUNK).zip(first.chunks(CHUNK)).enumerate() {
                if now != first {
                    let differs = now.iter().zip(first).enumerate().filter(|(_, (now, first))| now != first);
                    state.extend(differs.map(|(one, (now, _))| ((number + few * CHUNK + one) as u32, *now)));
                }
            }
            number += now.len();
        }
        self.last = state.clone().into();
        state.into()
    }

    /// Restores a state. Nothing has changed since [`Memory::save`] or this was called last.
    pub fn restore(&mut self, state: &State) {
        let first = self.last.iter().map(|&(number, _)| (number, self.first[number as usize]));
        for (number, value) in first.chain(state.iter().copied()) {
            self.write(number, value);
        }
        self.last.clone_from(state);
    }

    fn write(&self, number: u32, value: u64) {
        let mut number = number as usize;
        for place in &self.places {
            if number < place.words {
                // SAFETY: within the place.
                let word = unsafe { place.start.add(number) };
                // SAFETY: the place is there for good, nobody executes who may look at it, and what is written was there
                // before.
                unsafe { word.write(value) };
                return;
            }
            number -= place.words;
        }
    }
}

/// Words that are compared at once.
const CHUNK: usize = 32;

impl Place {
    /// What is there now.
    fn now(&self) -> &[u64] {
        // SAFETY: the place is there for good and was filled when it was made, and nobody executes who may write it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

/// A number for a state: two different states have the same one with a probability of 2 to the power of -128 or so.
pub(crate) fn number(state: &State) -> u128 {
    let (mut a, mut b) = (0x9e37_79b9_7f4a_7c15_u64, 0xd1b5_4a32_d192_ed03_u64);
    for &(place, value) in state {
        let word = value ^ u64::from(place).wrapping_mul(0xa076_1d64_78bd_642f);
        a = (a ^ word).wrapping_mul(0xe703_7ed1_a0b4_28db).rotate_left(29);
        b = (b.rotate_left(31) ^ word).wrapping_mul(0x8ebc_6af0_9c88_c6e3);
        b ^= b >> 32;
    }
    u128::from(a) << 64 | u128::from(b)
}
