//! What ESR_EL1 says: the exception class, and for an abort what was tried (D24.2.37).

use core::fmt;

use aarch64_cpu::registers::ESR_EL1;

/// An exception syndrome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syndrome(pub u64);

/// WnR, in the syndrome of a data abort: it was a write.
const WRITE: u64 = 1 << 6;
/// CM, likewise: it was cache maintenance, which WnR calls a write.
const CACHE_MAINTENANCE: u64 = 1 << 8;
/// DFSC or IFSC, the fault status; its lowest two bits are the level in the kinds below.
const FAULT_STATUS: u64 = 0b11_1111;
/// Kinds of faults: no mapping, a clear access flag, a mapping that forbids.
const TRANSLATION: u64 = 0b0001;
const ACCESS_FLAG: u64 = 0b0010;
const PERMISSION: u64 = 0b0011;

impl Syndrome {
    /// The exception class, EC.
    pub fn class(self) -> u64 {
        ESR_EL1::EC.read(self.0)
    }

    /// Says whether it is of this class.
    pub fn is(self, class: ESR_EL1::EC::Value) -> bool {
        self.class() == class as u64
    }

    /// What was tried, if it was an access, of this exception level or user mode, that the tables do not allow.
    pub fn tried(self) -> Option<Tried> {
        use ESR_EL1::EC::Value as Class;
        let in_user_mode = self.is(Class::InstrAbortLowerEL) || self.is(Class::DataAbortLowerEL);
        let access = if self.is(Class::InstrAbortCurrentEL) || self.is(Class::InstrAbortLowerEL) {
            "execution"
        } else if !(self.is(Class::DataAbortCurrentEL) || self.is(Class::DataAbortLowerEL)) {
            return None;
        } else if self.0 & WRITE != 0 && self.0 & CACHE_MAINTENANCE == 0 {
            "write"
        } else {
            "read"
        };
        match (self.0 & FAULT_STATUS) >> 2 {
            TRANSLATION => Some(Tried { access, absent: true }),
            PERMISSION => Some(Tried { access, absent: false }),
            // The flag is set in all that is user mode's.
            ACCESS_FLAG if in_user_mode => Some(Tried { access, absent: false }),
            _ => None,
        }
    }

    /// Says whether it was an access of this exception level to a page whose access flag is clear, on a CPU that does not
    /// set it itself.
    pub fn is_first_access(self) -> bool {
        use ESR_EL1::EC::Value as Class;
        let aborted = self.is(Class::InstrAbortCurrentEL) || self.is(Class::DataAbortCurrentEL);
        aborted && (self.0 & FAULT_STATUS) >> 2 == ACCESS_FLAG
    }

    fn name(self) -> &'static str {
        use ESR_EL1::EC::Value as Class;
        match ESR_EL1::EC.read_as_enum(self.0) {
            Some(Class::Unknown) => "undefined instruction",
            Some(Class::TrappedWFIorWFE) => "trapped wfi or wfe",
            Some(Class::TrappedFP) => "trapped floating-point or SIMD instruction",
            Some(Class::BranchTarget) => "branch target exception",
            Some(Class::IllegalExecutionState) => "illegal execution state",
            Some(Class::SVC64) => "supervisor call",
            Some(Class::HVC64) => "hypervisor call",
            Some(Class::SMC64) => "secure monitor call",
            Some(Class::TrappedMsrMrs) => "trapped system register access",
            Some(Class::TrappedSve) => "trapped SVE instruction",
            Some(Class::PointerAuth) => "pointer authentication failure",
            Some(Class::TrappedSME) => "trapped SME instruction",
            Some(Class::InstrAbortLowerEL | Class::InstrAbortCurrentEL) => "instruction abort",
            Some(Class::PCAlignmentFault) => "misaligned program counter",
            Some(Class::DataAbortLowerEL | Class::DataAbortCurrentEL) => "data abort",
            Some(Class::SPAlignmentFault) => "misaligned stack pointer",
            Some(Class::MemoryOperationException) => "memory operation exception",
            Some(Class::SError) => "SError",
            Some(Class::BreakpointLowerEL | Class::BreakpointCurrentEL) => "hardware breakpoint",
            Some(Class::SoftwareStepLowerEL | Class::SoftwareStepCurrentEL) => "software step",
            Some(Class::WatchpointLowerEL | Class::WatchpointCurrentEL) => "watchpoint",
            Some(Class::Brk64) => "breakpoint",
            _ => "exception",
        }
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specific = ESR_EL1::ISS.read(self.0);
        write!(f, "{} (exception class {:#04x}, syndrome {specific:#x})", self.name(), self.class())
    }
}

/// What an access tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    access: &'static str,
    /// The walk found no mapping; else it found one that forbids the access.
    pub absent: bool,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.access)?;
        f.write_str(if self.absent { ", nothing is mapped there" } else { ", which is forbidden there" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tried(esr: u64) -> Option<String> {
        Syndrome(esr).tried().map(|tried| tried.to_string())
    }

    #[test]
    fn aborts_say_what_was_tried() {
        // As QEMU's cortex-a72 gave them: EC, IL, and ISS.
        assert_eq!(tried(0x9600_0007).as_deref(), Some("read, nothing is mapped there"));
        assert_eq!(tried(0x9600_0047).as_deref(), Some("write, nothing is mapped there"));
        assert_eq!(tried(0x9600_004f).as_deref(), Some("write, which is forbidden there"));
        assert_eq!(tried(0x8600_000f).as_deref(), Some("execution, which is forbidden there"));
        assert_eq!(tried(0x9600_0147).as_deref(), Some("read, nothing is mapped there"), "cache maintenance");
        assert_eq!(tried(0x9600_0010), None, "external abort");
    }

    #[test]
    fn aborts_of_user_mode_say_so_too() {
        assert_eq!(tried(0x9200_0007).as_deref(), Some("read, nothing is mapped there"));
        assert_eq!(tried(0x9200_004f).as_deref(), Some("write, which is forbidden there"));
        assert_eq!(tried(0x8200_0004).as_deref(), Some("execution, nothing is mapped there"));
        // A page of the kernel's whose access flag is clear.
        assert_eq!(tried(0x9200_000b).as_deref(), Some("read, which is forbidden there"));
        assert_eq!(tried(0x9200_0010), None, "external abort");
    }

    #[test]
    fn a_clear_access_flag_is_told_from_other_aborts() {
        assert!(Syndrome(0x9600_000b).is_first_access() && Syndrome(0x8600_000a).is_first_access());
        for other in [0x9600_0007, 0x9600_000f, 0x9200_000b, 0xf200_000b] {
            assert!(!Syndrome(other).is_first_access(), "{other:#x}");
        }
        assert_eq!(tried(0x9600_000b), None);
    }

    #[test]
    fn classes_have_names() {
        assert_eq!(Syndrome(0x0200_0000).to_string(), "undefined instruction (exception class 0x00, syndrome 0x0)");
        assert_eq!(Syndrome(0x9600_0010).to_string(), "data abort (exception class 0x25, syndrome 0x10)");
        assert!(Syndrome(0xf200_0001).is(ESR_EL1::EC::Value::Brk64));
    }

    proptest! {
        #[test]
        fn every_syndrome_can_be_told(esr: u64) {
            let class = format!("class {:#04x}", esr >> 26 & 0x3f);
            prop_assert!(Syndrome(esr).to_string().contains(&class));
        }
    }
}
