//! The start of other CPUs: PSCI's CPU_ON (Arm DEN 0022, 5.6).

use ebbtide_arch_aarch64::secondary;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::{System, VirtAddr};
use smccc::psci::{self, Error};
use smccc::{Hvc, Smc};

use crate::cpus::Affinity;
use crate::devices::Conduit;

/// Lets the firmware start a CPU, which comes up on the stack below `stack`.
///
/// # Errors
///
/// Why the firmware does not.
pub(crate) fn start<S: System>(
    cpu: &'static PerCpu,
    affinity: Affinity,
    stack: VirtAddr,
    conduit: Conduit,
) -> Result<(), &'static str> {
    let (entry, context) = secondary::prepare::<S>(cpu, stack);
    let call = match conduit {
        Conduit::Hvc => psci::cpu_on::<Hvc>,
        Conduit::Smc => psci::cpu_on::<Smc>,
    };
    call(affinity.as_u64(), entry.as_u64(), context.as_u64()).map_err(in_words)
}

fn in_words(error: Error) -> &'static str {
    match error {
        Error::NotSupported => "the firmware cannot start CPUs (PSCI has no CPU_ON)",
        Error::InvalidParameters => "the firmware knows no such CPU, though the device tree names it",
        Error::InvalidAddress => "the firmware will not start a CPU where the kernel lies in memory",
        Error::Denied => "the firmware denies it (PSCI)",
        Error::AlreadyOn | Error::OnPending => "the firmware says that it runs already, for somebody else",
        Error::InternalFailure => "the firmware tried to start it and failed",
        Error::Disabled => "the firmware says that it is disabled",
        Error::NotPresent | Error::Unknown(_) => "the firmware gave an answer that PSCI has not for CPU_ON",
    }
}
