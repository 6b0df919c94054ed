//! Enters the kernel as hermit-entry's loaders do: platform "LinuxBoot", everything it needs in the device tree.

#![expect(unsafe_code, reason = "enters the kernel")]

extern crate alloc;

use alloc::boxed::Box;

use ebbtide_loader::aarch64::console;
use ebbtide_loader::aarch64::enter::{enter, publish, stack_end};
use ebbtide_loader::aarch64::image::head;
use ebbtide_loader::boot::{Handover, Kernel};
use ebbtide_loader::refusal::Refusal;
use hermit_entry::boot_info::{BootInfo, DeviceTreeAddress, HardwareInfo, PlatformInfo, RawBootInfo, SerialPortBase};

#[used]
static HEAD: extern "C" fn() -> ! = head::<Loader>;

struct Loader;

impl Handover for Loader {
    const NAME: &'static str = "loader";

    fn choose(command_line: &'static str) -> Result<(Self, &'static str), Refusal> {
        Ok((Self, command_line))
    }

    fn enter(self, kernel: Kernel) -> ! {
        let entry = kernel.loaded.entry_point;
        let last = kernel.memory.iter().map(|region| region.end).max();
        publish(&kernel.loaded.load_info.kernel_image_addr_range);
        let boot_info = BootInfo {
            hardware_info: HardwareInfo {
                phys_addr_range: 0..last.unwrap_or(0),
                serial_port_base: SerialPortBase::new(console::address()),
                device_tree: DeviceTreeAddress::new(kernel.device_tree.as_ptr().expose_provenance() as u64),
            },
            load_info: kernel.loaded.load_info,
            platform_info: PlatformInfo::LinuxBoot,
        };
        let boot_info = Box::leak(Box::new(RawBootInfo::from(boot_info)));
        // SAFETY: the kernel is loaded and published, its boot information and stack are never used here again.
        unsafe { enter(boot_info, 0, entry, stack_end()) }
    }
}
