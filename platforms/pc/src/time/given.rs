//! Frequencies that CPUID gives, so that nothing need be measured.

use raw_cpuid::CpuId;

use super::clock::PLAUSIBLE_HZ;
use super::estimate::Ratio;

/// What CPUID says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The TSC's frequency in Hz, if it is given exactly.
    pub tsc_hz: Option<u64>,
    /// The CPU's base frequency in Hz, on Intel's about the TSC's: better than nothing where there is no 8254.
    pub nominal_hz: Option<u64>,
    /// Ticks of the local APIC's timer per tick of the TSC.
    pub apic_ratio: Option<Ratio>,
    /// Whether the timer takes a TSC value as its deadline.
    pub tsc_deadline: bool,
}

/// Asks the hypervisor's leaf 0x4000_0010 (kHz of TSC and local APIC timer), then leaf 0x15 (the TSC over a crystal of
/// known frequency), then 0x16 (base frequency in MHz).
pub fn frequencies() -> Given {
    let cpuid = CpuId::new();
    let hypervisor = cpuid.get_hypervisor_info();
    let khz = |value: Option<u32>| value.map_or(0, u64::from) * 1_000;
    let hypervisor_tsc_hz = khz(hypervisor.as_ref().and_then(|info| info.tsc_frequency()));
    let hypervisor_apic_hz = khz(hypervisor.as_ref().and_then(|info| info.apic_frequency()));
    let crystal_tsc_hz = cpuid.get_tsc_info().and_then(|info| info.tsc_frequency()).unwrap_or(0);
    let base_mhz = cpuid.get_processor_frequency_info().map_or(0, |info| info.processor_base_frequency());
    Given {
        tsc_deadline: cpuid.get_feature_info().is_some_and(|features| features.has_tsc_deadline()),
        ..judge(hypervisor_tsc_hz, hypervisor_apic_hz, crystal_tsc_hz, u64::from(base_mhz) * 1_000_000)
    }
}

/// Keeps what is plausible; 0 stands for what is not given.
fn judge(hypervisor_tsc_hz: u64, hypervisor_apic_hz: u64, crystal_tsc_hz: u64, base_hz: u64) -> Given {
    let plausible = |hz: u64| PLAUSIBLE_HZ.contains(&hz).then_some(hz);
    let hypervisor_tsc = plausible(hypervisor_tsc_hz);
    Given {
        tsc_hz: hypervisor_tsc.or(plausible(crystal_tsc_hz)),
        nominal_hz: plausible(base_hz),
        apic_ratio: hypervisor_tsc.zip(plausible(hypervisor_apic_hz)).map(|(tsc, apic)| Ratio::of(apic, tsc)),
        tsc_deadline: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_the_hypervisor() {
        let given = judge(2_000_000_000, 1_000_000_000, 2_100_000_000, 2_200_000_000);
        assert_eq!(given.tsc_hz, Some(2_000_000_000));
        assert_eq!(given.apic_ratio, Some(Ratio(1 << 31)));
    }

    #[test]
    fn ignores_what_cannot_be() {
        assert_eq!(judge(0, 1_000_000_000, 0, 0), Given::default());
        assert_eq!(judge(5_000, 0, u64::MAX, 1_000_000), Given::default());
        assert_eq!(judge(0, 0, 2_100_000_000, 0).tsc_hz, Some(2_100_000_000));
        assert_eq!(judge(0, 0, 0, 2_200_000_000).nominal_hz, Some(2_200_000_000));
    }
}
