//! The choice of types that makes a system of the machine.

use std::marker::PhantomData;

use ebbtide_core::arch::Arch;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::{StackPolicy, System};

use crate::board::Board;
use crate::machine::current;

/// The system of a test: core on the machine, under policy `P`, with generations of so many bits, which checks its own
/// invariants or not. What it checks when it goes idle knows nothing of frames that a test has taken.
#[derive(Debug)]
pub struct Host<P, const GENERATION_BITS: u32 = 20, const AUDIT: bool = false>(PhantomData<fn() -> P>);

impl<P: StackPolicy, const GENERATION_BITS: u32, const AUDIT: bool> System for Host<P, GENERATION_BITS, AUDIT> {
    type Arch = Simulated<GENERATION_BITS>;
    type Platform = Board;
    type Policy = P;

    const AUDIT: bool = AUDIT;

    fn kernel() -> &'static Kernel {
        current().kernel.get()
    }
}

/// The architecture. Each part of its contract stands in a file of its own.
#[derive(Debug)]
pub struct Simulated<const GENERATION_BITS: u32>;

impl<const GENERATION_BITS: u32> Arch for Simulated<GENERATION_BITS> {
    const NAME: &'static str = "simulated";
}
