//! Which CPUs there are, by their affinities.

use ebbtide_core::cpu::MAX_CPUS;

/// The affinity fields of MPIDR_EL1: levels 3, 2, 1 and 0 (Arm ARM, D24.2.123). What else is in there says nothing of which
/// CPU it is. A device tree's `reg`, and PSCI, have them at the same places.
const FIELDS: u64 = 0xff_00ff_ffff;

/// What tells CPUs apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity(u64);

impl Affinity {
    /// Takes the fields out of a value of MPIDR_EL1.
    #[must_use]
    pub const fn new(register: u64) -> Self {
        Self(register & FIELDS)
    }

    /// The fields where MPIDR_EL1 has them.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The field of this level, 0 to 3.
    #[must_use]
    pub const fn level(self, level: usize) -> u8 {
        self.0.to_le_bytes()[if level == 3 { 4 } else { level }]
    }
}

/// The CPUs, by number: 0 is the one that boots, the others follow in the order of the device tree.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    /// Of the first ones.
    affinities: [Affinity; MAX_CPUS],
    /// How many there are, those included of which the affinity is not kept.
    count: usize,
}

impl Cpus {
    /// The CPU that boots is one in any case.
    #[must_use]
    pub fn new(boot: Affinity) -> Self {
        let mut affinities = [Affinity::default(); MAX_CPUS];
        affinities[0] = boot;
        Self { affinities, count: 1 }
    }

    /// Adds a CPU, unless it is there.
    pub fn add(&mut self, affinity: Affinity) {
        if self.known().contains(&affinity) {
            return;
        }
        if let Some(place) = self.affinities.get_mut(self.count) {
            *place = affinity;
        }
        self.count += 1;
    }

    /// Forgets all but the one that boots.
    pub fn keep_boot_cpu(&mut self) {
        self.count = 1;
    }

    /// How many there are, which may be more than [`affinity`](Self::affinity) tells of.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The affinity of the CPU of this number.
    #[must_use]
    pub fn affinity(&self, number: u32) -> Option<Affinity> {
        self.known().get(number as usize).copied()
    }

    fn known(&self) -> &[Affinity] {
        &self.affinities[..self.count.min(MAX_CPUS)]
    }
}
