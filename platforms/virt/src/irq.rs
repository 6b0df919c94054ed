//! Interrupts: a GICv2 or a GICv3. The timer's alone is enabled.
//!
//! All that comes is in the group that non-secure EL1 sees: 1 on a GICv3 and on a GICv2 with security extensions, where
//! the plain registers show it; 0 on a GICv2 without.
#![expect(unsafe_code, reason = "the controller is reached by its mapped registers")]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arm_gic::gicv2::GicV2;
use arm_gic::gicv3::registers::{Gicd as GicdV3, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3};
use arm_gic::{IntId, InterruptGroup, Trigger, UniqueMmioPointer};
use ebbtide_core::platform::Interrupt;

pub use crate::devices::Kind;
use crate::time;

/// The timer's priority: in the middle, and the same as any other's.
const PRIORITY: u8 = 0x80;

/// Lets interrupts of all priorities through.
const ALL_PRIORITIES: u8 = 0xff;

/// The CPU that boots, by its place among the redistributors.
const BOOT_CPU: usize = 0;

/// The GICv2's registers, distributor and CPU interface; 0 with a GICv3. Set once, before the first interrupt.
static DISTRIBUTOR_V2: AtomicU64 = AtomicU64::new(0);
static CPU_V2: AtomicU64 = AtomicU64::new(0);

/// The timer's interrupt.
static TIMER: AtomicU32 = AtomicU32::new(u32::MAX);

/// Switches the interrupt controller on for the CPU that boots and enables the timer's interrupt. `distributor` and `cpu`
/// are the virtual addresses of its parts, `timer` is the interrupt's number. Interrupts are off.
///
/// # Errors
///
/// The controller has no such interrupt, or is none that the driver knows.
pub fn init(kind: Kind, distributor: u64, cpu: u64, timer: u32) -> Result<(), &'static str> {
    const UNKNOWN: &str = "the interrupt controller's registers are not those of a GICv2 or GICv3";
    const NO_TIMER: &str = "the interrupt controller has no interrupt for the timer";
    let interrupt = IntId::try_from(timer).map_err(|_| NO_TIMER)?;
    match kind {
        Kind::V2 => {
            DISTRIBUTOR_V2.store(distributor, Ordering::Relaxed);
            CPU_V2.store(cpu, Ordering::Relaxed);
            let mut gic = gic_v2().ok_or(UNKNOWN)?;
            gic.setup();
            // The driver takes the distributor for the secure world's where there is one; ours has this bit in any case.
            gic.enable_group0(true);
            gic.set_priority_mask(ALL_PRIORITIES);
            gic.set_interrupt_priority(interrupt, PRIORITY);
            gic.set_trigger(interrupt, Trigger::Level);
            gic.enable_interrupt(interrupt, true).map_err(|_| NO_TIMER)?;
        }
        Kind::V3 => {
            let distributor = NonNull::new(ptr::with_exposed_provenance_mut::<GicdV3>(distributor as usize));
            let redistributor = NonNull::new(ptr::with_exposed_provenance_mut::<GicrSgi>(cpu as usize));
            let (distributor, redistributor) = distributor.zip(redistributor).ok_or(UNKNOWN)?;
            // SAFETY: it was mapped as a device, and is driven here alone, now.
            let distributor = unsafe { UniqueMmioPointer::new(distributor) };
            // SAFETY: as above; the two frames of one CPU are mapped.
            let mut gic = unsafe { GicV3::new(distributor, redistributor, 1) }.map_err(|_| UNKNOWN)?;
            gic.setup(BOOT_CPU);
            GicCpuInterface::set_priority_mask(ALL_PRIORITIES);
            gic.set_interrupt_priority(interrupt, Some(BOOT_CPU), PRIORITY).map_err(|_| NO_TIMER)?;
            gic.set_trigger(interrupt, Some(BOOT_CPU), Trigger::Level).map_err(|_| NO_TIMER)?;
            gic.enable_interrupt(interrupt, Some(BOOT_CPU), true).map_err(|_| NO_TIMER)?;
        }
    }
    TIMER.store(timer, Ordering::Relaxed);
    Ok(())
}

/// Acknowledges and ends the interrupt that came in, and says what it was.
pub fn end() -> Interrupt {
    match gic_v2() {
        Some(mut gic) => {
            let group = InterruptGroup::Group0;
            gic.get_and_acknowledge_interrupt(group).map_or(Interrupt::Spurious, |interrupt| {
                let kind = handle(interrupt);
                gic.end_interrupt(interrupt, group);
                kind
            })
        }
        None => {
            let group = InterruptGroup::Group1;
            GicCpuInterface::get_and_acknowledge_interrupt(group).map_or(Interrupt::Spurious, |interrupt| {
                let kind = handle(interrupt);
                GicCpuInterface::end_interrupt(interrupt, group);
                kind
            })
        }
    }
}

/// Quietens what interrupted, and says what it was. The timer's interrupt is a level: it would come again at once.
fn handle(interrupt: IntId) -> Interrupt {
    let number = u32::from(interrupt);
    if number == TIMER.load(Ordering::Relaxed) {
        time::disarm();
        Interrupt::Timer
    } else {
        Interrupt::Unexpected(number)
    }
}

/// The driver of the GICv2, if it is one. Made anew for each use: it remembers nothing but the addresses.
fn gic_v2() -> Option<GicV2<'static>> {
    let [distributor, cpu] = [&DISTRIBUTOR_V2, &CPU_V2].map(|address| address.load(Ordering::Relaxed) as usize);
    if distributor == 0 || cpu == 0 {
        return None;
    }
    let (distributor, cpu) = (ptr::with_exposed_provenance_mut(distributor), ptr::with_exposed_provenance_mut(cpu));
    // SAFETY: both are mapped as devices. After `init` only registers are used that each CPU has its own of.
    Some(unsafe { GicV2::new(distributor, cpu) })
}
