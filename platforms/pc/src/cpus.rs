//! Which CPUs there are, by their APIC identifiers.
#![expect(unsafe_code, reason = "reads what the firmware left in memory")]

use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ebbtide_core::console;
use ebbtide_core::cpu::MAX_CPUS;
use ebbtide_core::memory::map_device;
use ebbtide_core::{PhysAddr, System};

use crate::madt::Cpus;

/// Physical address of the ACPI tables' root pointer, 0 if there is none. Set before paging.
static ACPI_ROOT: AtomicU64 = AtomicU64::new(0);

/// By the CPU's number: 0 is the one that boots, the others follow in the order of the table.
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// How many CPUs there are, those included of which the identifier is not kept.
static COUNT: AtomicU32 = AtomicU32::new(1);

/// Notes where the loader found the root pointer of the ACPI tables.
pub fn note_acpi_root(address: Option<PhysAddr>) {
    ACPI_ROOT.store(address.map_or(0, PhysAddr::as_u64), Ordering::Relaxed);
}

/// Reads which CPUs there are. Where the firmware does not tell, or nothing that holds, it is the one that boots, whose
/// identifier is `boot_id`.
pub(crate) fn find<S: System>(boot_id: u32) {
    APIC_IDS[0].store(boot_id, Ordering::Relaxed);
    let root = ACPI_ROOT.load(Ordering::Relaxed);
    if root == 0 {
        return;
    }
    let Ok(cpus) = Cpus::read(boot_id, root, &mut bytes_at::<S>) else { return };
    if let Some(warning) = cpus.warning() {
        console::print::<S>(format_args!("ebbtide: {warning}\n"));
    }
    for (place, id) in APIC_IDS.iter().zip(cpus.ids()) {
        place.store(*id, Ordering::Relaxed);
    }
    COUNT.store(cpus.count() as u32, Ordering::Relaxed);
}

/// How many CPUs there are.
pub(crate) fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// The APIC identifier of the CPU of this number, which is one of those that are kept.
pub(crate) fn apic_id(number: u32) -> u32 {
    APIC_IDS[number as usize].load(Ordering::Relaxed)
}

/// What the firmware left at a physical address.
fn bytes_at<S: System>(address: u64, bytes: usize) -> Option<&'static [u8]> {
    let address = PhysAddr::try_new(address).ok()?;
    // SAFETY: the firmware's tables lie there. They are read as a device is, uncached, which is as good.
    let here = unsafe { map_device::<S>(address, bytes as u64) }.ok()?;
    // SAFETY: it is mapped for good, and nothing writes to it: the firmware is done, and has not said that it is free.
    Some(unsafe { slice::from_raw_parts(here.as_ptr(), bytes) })
}
