//! How interrupts between CPUs are numbered and addressed.

use arm_gic::IntId;
use arm_gic::gicv3::SgiTarget;
use ebbtide_core::platform::Ipi;

use crate::cpus::Affinity;

/// All reasons; a reason's number is its place. Firmware that runs beside a kernel has 8 to 15.
pub const ALL: [Ipi; 3] = [Ipi::Reschedule, Ipi::Shootdown, Ipi::Stop];

/// The bits of what a GICv2 acknowledges with that are the interrupt's number; above, for an SGI, is the CPU that sent it
/// (GICv2, 4.4.4).
const NUMBER_BITS: u32 = 0x3ff;

/// CPUs of one cluster that one SGI of a GICv3 can name.
const CLUSTER: u8 = 16;

/// The number of an interrupt between CPUs.
pub fn number(ipi: Ipi) -> IntId {
    let place = match ipi {
        Ipi::Reschedule => 0,
        Ipi::Shootdown => 1,
        Ipi::Stop => 2,
    };
    IntId::sgi(place)
}

/// What the interrupt of this number means between CPUs, if anything.
pub fn ipi(number: u32) -> Option<Ipi> {
    ALL.get(number as usize).copied()
}

/// The number of an interrupt, from what a GICv2 acknowledged with.
pub const fn without_sender(acknowledged: u32) -> u32 {
    acknowledged & NUMBER_BITS
}

/// The bit of a CPU's interface, from what it reads in GICD_ITARGETSR0: each byte names the reader, or is 0 where the
/// interrupt does not exist (GICv2, 4.3.12).
pub const fn interface(targets: u32) -> u8 {
    let [a, b, c, d] = targets.to_ne_bytes();
    a | b | c | d
}

/// The target of an SGI of a GICv3 for one CPU. There is none for CPUs above 15 in a cluster: not all controllers can
/// reach those.
pub fn target(affinity: Affinity) -> Option<SgiTarget> {
    let place = affinity.level(0);
    (place < CLUSTER).then(|| SgiTarget::List {
        affinity3: affinity.level(3),
        affinity2: affinity.level(2),
        affinity1: affinity.level(1),
        target_list: 1 << place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_number() {
        for reason in ALL {
            assert_eq!(ipi(u32::from(number(reason))), Some(reason));
        }
        assert_eq!(ipi(ALL.len() as u32), None);
    }

    #[test]
    fn the_senders_number_is_not_the_interrupts() {
        let from_cpu_5 = 5 << 10 | u32::from(number(Ipi::Stop));
        assert_eq!(ipi(from_cpu_5), None);
        assert_eq!(ipi(without_sender(from_cpu_5)), Some(Ipi::Stop));
        assert_eq!(without_sender(27), 27);
    }

    #[test]
    fn a_cpu_interface_is_the_same_bit_in_every_byte() {
        assert_eq!(interface(0x4040_4040), 0x40);
        // Not all interrupts need exist.
        assert_eq!(interface(0x0002_0000), 0x02);
        // There is one CPU only.
        assert_eq!(interface(0), 0);
    }

    #[test]
    fn the_fields_of_an_affinity_are_the_targets() {
        let list = |affinity3, affinity2, affinity1, target_list| {
            Some(SgiTarget::List { affinity3, affinity2, affinity1, target_list })
        };
        assert_eq!(target(Affinity::new(0x0000_0000)), list(0, 0, 0, 1));
        assert_eq!(target(Affinity::new(0x0000_010f)), list(0, 0, 1, 1 << 15));
        assert_eq!(target(Affinity::new(0x12_8034_5603)), list(0x12, 0x34, 0x56, 1 << 3));
        assert_eq!(target(Affinity::new(0x10)), None);
    }
}
