//! Interrupts: a GICv2 or a GICv3. The timer's is enabled, and those that CPUs send each other.
//!
//! All that comes is in the group that non-secure EL1 sees: 1 on a GICv3 and on a GICv2 with security extensions, where
//! the plain registers show it; 0 on a GICv2 without.
//!
//! An interrupt from one CPU to another is a software-generated one (SGI). Its number says why ([`Ipi`]). A GICv2 tells also
//! who sent it, in the same word, which must be written back as it was to end it.
#![expect(unsafe_code, reason = "the controller is reached by its mapped registers")]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aarch64_cpu::asm::barrier;
use arm_gic::gicv2::{self, GicV2};
use arm_gic::gicv3::registers::{Gicd as GicdV3, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicV3, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, Trigger, UniqueMmioPointer};
use ebbtide_core::cpu::MAX_CPUS;
use ebbtide_core::platform::{Interrupt, Ipi};

use crate::cpus::Affinity;
pub use crate::devices::Kind;
use crate::{sgi, time};

/// The timer's priority: in the middle, and the same as any other's.
const PRIORITY: u8 = 0x80;

/// Lets interrupts of all priorities through.
const ALL_PRIORITIES: u8 = 0xff;

/// The driver of a GICv3 is made for one CPU at a time, whose redistributor it numbers so.
const THIS_CPU: usize = 0;

/// GICD_IPRIORITYR0 and GICD_ITARGETSR0, in words from the distributor's start (GICv2, 4.3.11 and 4.3.12).
const PRIORITIES_OF_SGIS: usize = 0x400 / 4;
const TARGETS: usize = 0x800 / 4;

const UNKNOWN: &str = "the interrupt controller's registers are not those of a GICv2 or GICv3";
const NO_TIMER: &str = "the interrupt controller has no interrupt for the timer";

/// The distributor's registers. Set once, before the first interrupt.
static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);

/// The registers of the GICv2's CPU interface, in which each CPU sees its own; 0 with a GICv3. Set once.
static CPU_V2: AtomicU64 = AtomicU64::new(0);

/// The redistributors of a GICv3, by the CPUs' numbers. Set before the CPU is started.
static REDISTRIBUTORS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// How an SGI names the CPU, by its number: its affinity on a GICv3, the bit of its interface on a GICv2. Set before the CPU
/// has come up.
static NAMES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// The timer's interrupt.
static TIMER: AtomicU32 = AtomicU32::new(u32::MAX);

/// Switches on what of the interrupt controller all CPUs share. `distributor` is the virtual address of its registers,
/// `timer` the number of the timer's interrupt. Interrupts are off.
///
/// # Errors
///
/// The controller is none that the driver knows.
pub(crate) fn init(kind: Kind, distributor: u64, timer: u32) -> Result<(), &'static str> {
    DISTRIBUTOR.store(distributor, Ordering::Relaxed);
    TIMER.store(timer, Ordering::Relaxed);
    if kind == Kind::V3 {
        let registers = NonNull::new(ptr::with_exposed_provenance_mut::<GicdV3>(distributor as usize));
        // SAFETY: it was mapped as a device, and is driven here alone, now.
        let registers = unsafe { UniqueMmioPointer::new(registers.ok_or(UNKNOWN)?) };
        GicDistributor::new(registers).configure_default_settings();
    }
    Ok(())
}

/// Notes where the registers of a CPU are, a redistributor or a GICv2's CPU interface, before the CPU needs them.
///
/// # Errors
///
/// No interrupt could be sent to it.
pub(crate) fn note_cpu(kind: Kind, number: u32, affinity: Affinity, registers: u64) -> Result<(), &'static str> {
    match kind {
        Kind::V2 => CPU_V2.store(registers, Ordering::Relaxed),
        Kind::V3 => {
            sgi::target(affinity)
                .ok_or("its number within its cluster is above 15, so other CPUs cannot interrupt it")?;
            NAMES[number as usize].store(affinity.as_u64(), Ordering::Relaxed);
            REDISTRIBUTORS[number as usize].store(registers, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Switches on what of the interrupt controller belongs to this CPU, which has been noted, and enables its interrupts: the
/// timer's, and those that other CPUs send. Interrupts are off.
///
/// # Errors
///
/// The controller has no interrupt for the timer, or is none that the driver knows.
pub(crate) fn init_cpu(number: u32) -> Result<(), &'static str> {
    let timer = IntId::try_from(TIMER.load(Ordering::Relaxed)).map_err(|_| NO_TIMER)?;
    if let Some(mut gic) = gic_v2() {
        // What it writes to the registers that all CPUs share is what the CPU that boots wrote there.
        gic.setup();
        // The driver takes the distributor for the secure world's where there is one; ours has this bit in any case.
        gic.enable_group0(true);
        gic.set_priority_mask(ALL_PRIORITIES);
        gic.set_interrupt_priority(timer, PRIORITY);
        gic.set_trigger(timer, Trigger::Level);
        gic.enable_interrupt(timer, true).map_err(|_| NO_TIMER)?;
        // All of one word: the driver would clear those of its neighbours.
        write_distributor(PRIORITIES_OF_SGIS, u32::from_ne_bytes([PRIORITY; 4]));
        for ipi in sgi::ALL {
            gic.enable_interrupt(sgi::number(ipi), true).map_err(|_| UNKNOWN)?;
        }
        NAMES[number as usize].store(sgi::interface(read_distributor(TARGETS)).into(), Ordering::Relaxed);
    } else {
        let mut gic = gic_v3(number).ok_or(UNKNOWN)?;
        gic.init_cpu(THIS_CPU);
        gic.redistributor(THIS_CPU).map_err(|_| UNKNOWN)?.configure_default_settings();
        GicCpuInterface::enable_group1(true);
        GicCpuInterface::set_priority_mask(ALL_PRIORITIES);
        gic.set_interrupt_priority(timer, Some(THIS_CPU), PRIORITY).map_err(|_| NO_TIMER)?;
        gic.set_trigger(timer, Some(THIS_CPU), Trigger::Level).map_err(|_| NO_TIMER)?;
        gic.enable_interrupt(timer, Some(THIS_CPU), true).map_err(|_| NO_TIMER)?;
        for ipi in sgi::ALL {
            gic.set_interrupt_priority(sgi::number(ipi), Some(THIS_CPU), PRIORITY).map_err(|_| UNKNOWN)?;
            gic.enable_interrupt(sgi::number(ipi), Some(THIS_CPU), true).map_err(|_| UNKNOWN)?;
        }
    }
    Ok(())
}

/// Interrupts a CPU that has come up.
pub(crate) fn send_ipi(cpu: u32, ipi: Ipi) {
    let name = NAMES[cpu as usize].load(Ordering::Relaxed);
    // What was stored before is visible before the interrupt is: it goes out by another way than through memory.
    barrier::dsb(barrier::ISHST);
    match gic_v2() {
        Some(mut gic) => {
            let target = gicv2::SgiTarget::List {
                target_list_filter: gicv2::SgiTargetListFilter::CPUTargetList,
                target_list: name as u16,
            };
            gic.send_sgi(sgi::number(ipi), target);
        }
        None => {
            if let Some(target) = sgi::target(Affinity::new(name)) {
                // It fails for numbers above 15, and there are few.
                let _ = GicCpuInterface::send_sgi(sgi::number(ipi), target, SgiTargetGroup::CurrentGroup1);
            }
            // The write takes effect before anything that follows, a wait for the answer say.
            barrier::isb(barrier::SY);
        }
    }
}

/// Acknowledges and ends the interrupt that came in, and says what it was.
pub(crate) fn end() -> Interrupt {
    match gic_v2() {
        Some(mut gic) => {
            let group = InterruptGroup::Group0;
            gic.get_and_acknowledge_interrupt(group).map_or(Interrupt::Spurious, |interrupt| {
                // With the sender's number, if another CPU sent it.
                let kind = handle(sgi::without_sender(interrupt.into()));
                gic.end_interrupt(interrupt, group);
                kind
            })
        }
        None => {
            let group = InterruptGroup::Group1;
            GicCpuInterface::get_and_acknowledge_interrupt(group).map_or(Interrupt::Spurious, |interrupt| {
                let kind = handle(interrupt.into());
                GicCpuInterface::end_interrupt(interrupt, group);
                kind
            })
        }
    }
}

/// Quietens what interrupted, and says what it was. The timer's interrupt is a level: it would come again at once.
fn handle(number: u32) -> Interrupt {
    if number == TIMER.load(Ordering::Relaxed) {
        time::disarm();
        Interrupt::Timer
    } else if let Some(ipi) = sgi::ipi(number) {
        // What the sender stored before is read after this, and not before the interrupt was acknowledged.
        barrier::dsb(barrier::SY);
        Interrupt::Ipi(ipi)
    } else {
        Interrupt::Unexpected(number)
    }
}

/// The driver of the GICv2, if it is one. Made anew for each use: it remembers nothing but the addresses.
fn gic_v2() -> Option<GicV2<'static>> {
    let cpu = CPU_V2.load(Ordering::Relaxed) as usize;
    if cpu == 0 {
        return None;
    }
    let distributor = ptr::with_exposed_provenance_mut(DISTRIBUTOR.load(Ordering::Relaxed) as usize);
    let cpu = ptr::with_exposed_provenance_mut(cpu);
    // SAFETY: both are mapped as devices. Of the registers that CPUs share each writes the same, or (GICD_SGIR) one word.
    Some(unsafe { GicV2::new(distributor, cpu) })
}

/// The driver of the GICv3, for this CPU.
fn gic_v3(number: u32) -> Option<GicV3<'static>> {
    let distributor = ptr::with_exposed_provenance_mut::<GicdV3>(DISTRIBUTOR.load(Ordering::Relaxed) as usize);
    let redistributor = REDISTRIBUTORS[number as usize].load(Ordering::Relaxed) as usize;
    let redistributor = ptr::with_exposed_provenance_mut::<GicrSgi>(redistributor);
    let (distributor, redistributor) = NonNull::new(distributor).zip(NonNull::new(redistributor))?;
    // SAFETY: it is mapped as a device, and this driver is not asked to touch it.
    let distributor = unsafe { UniqueMmioPointer::new(distributor) };
    // SAFETY: the two frames are this CPU's own, and mapped.
    unsafe { GicV3::new(distributor, redistributor, 1) }.ok()
}

/// A register of the GICv2's distributor that the driver does not reach.
fn distributor_register(word: usize) -> *mut u32 {
    ptr::with_exposed_provenance_mut::<u32>(DISTRIBUTOR.load(Ordering::Relaxed) as usize).wrapping_add(word)
}

fn read_distributor(word: usize) -> u32 {
    // SAFETY: the distributor is mapped, and reading these registers changes nothing.
    unsafe { distributor_register(word).read_volatile() }
}

fn write_distributor(word: usize, value: u32) {
    // SAFETY: the distributor is mapped, and each CPU has these registers of its own.
    unsafe { distributor_register(word).write_volatile(value) };
}
