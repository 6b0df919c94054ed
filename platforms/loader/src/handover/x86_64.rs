//! Enters the kernel as hermit-entry's loaders do: platform "Fdt", everything it needs in the device tree.

#![expect(unsafe_code, reason = "puts the entry note in its section, and enters the kernel")]

extern crate alloc;

use alloc::boxed::Box;

use ebbtide_loader::boot::{Handover, Kernel};
use ebbtide_loader::refusal::Refusal;
use ebbtide_loader::x86_64::console::COM1;
use ebbtide_loader::x86_64::enter::{enter, stack_lowest};
use ebbtide_loader::x86_64::pvh::PvhNote;
use hermit_entry::boot_info::{BootInfo, DeviceTreeAddress, HardwareInfo, PlatformInfo, RawBootInfo, SerialPortBase};

#[used]
#[unsafe(link_section = ".note.Xen")]
static NOTE: PvhNote = PvhNote::new::<Loader>();

struct Loader;

impl Handover for Loader {
    const NAME: &'static str = "loader";

    fn choose(command_line: &'static str) -> Result<(Self, &'static str), Refusal> {
        Ok((Self, command_line))
    }

    fn enter(self, kernel: Kernel) -> ! {
        let entry = kernel.loaded.entry_point;
        let last = kernel.memory.iter().map(|region| region.end).max();
        let boot_info = BootInfo {
            hardware_info: HardwareInfo {
                phys_addr_range: 0..last.unwrap_or(0),
                serial_port_base: SerialPortBase::new(COM1),
                device_tree: DeviceTreeAddress::new(kernel.device_tree.as_ptr().expose_provenance() as u64),
            },
            load_info: kernel.loaded.load_info,
            platform_info: PlatformInfo::Fdt,
        };
        let boot_info = Box::leak(Box::new(RawBootInfo::from(boot_info)));
        // SAFETY: the kernel is loaded, its boot information and stack are never used here again.
        unsafe { enter(boot_info, 0, entry, stack_lowest()) }
    }
}
