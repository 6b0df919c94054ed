//! What a worker is given: plain data.

use ebbtide::user::UserData;

/// What a worker does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// It takes all the memory that it gets, and keeps it.
    Hungry,
    /// It spawns as many threads as it can, and has them all end at the same time.
    Fertile,
    /// It spawns threads, takes all the memory, and has them all compute at the same time and end with large results.
    Crowded,
}

/// The plan of a worker.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Plan {
    /// From which all is drawn.
    pub seed: u64,
    /// Calls that it makes.
    pub calls: u64,
    /// [`Kind`].
    kind: u64,
    /// Addresses that are the kernel's: in its heap, on a stack, in the image.
    pub kernel: [u64; 3],
    /// Numbers of threads that have nothing to do with it.
    pub others: [u64; 3],
}

#[expect(unsafe_code, reason = "a promise about bytes")]
// SAFETY: numbers of 64 bits, without padding.
unsafe impl UserData for Plan {}

impl Plan {
    /// The plan of the worker of this number.
    pub fn new(seed: u64, number: u64, calls: u64, kernel: [u64; 3], others: [u64; 3]) -> Self {
        let kind = match number % 32 {
            3 | 19 => Kind::Hungry,
            5 if number == 5 => Kind::Crowded,
            7 => Kind::Fertile,
            _ => Kind::Plain,
        };
        Self { seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number, calls, kind: kind as u64, kernel, others }
    }

    pub fn kind(&self) -> Kind {
        [Kind::Plain, Kind::Hungry, Kind::Fertile, Kind::Crowded]
            .into_iter()
            .find(|kind| *kind as u64 == self.kind)
            .unwrap_or(Kind::Plain)
    }
}
