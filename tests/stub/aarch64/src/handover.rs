//! Enters the kernel as hermit-loader would.

#![expect(unsafe_code, reason = "enters the kernel")]

use core::ops::Range;

use ebbtide_loader::aarch64::console;
use ebbtide_loader::aarch64::enter::{publish, stack_end};
use ebbtide_loader::aarch64::image::head;
use ebbtide_loader::boot::{Handover, Kernel, refuse};
use ebbtide_loader::refusal::Refusal;
use ebbtide_stub::{choose, spoil};
use hermit_entry::boot_info::{BootInfo, DeviceTreeAddress, HardwareInfo, PlatformInfo, RawBootInfo, SerialPortBase};

use crate::enter::enter;
use crate::tables;

#[used]
static HEAD: extern "C" fn() -> ! = head::<Stub>;

/// Bytes of the boot information that mean nothing: behind the platform's number.
const UNUSED: Range<usize> = 84..88;

struct Stub;

impl Handover for Stub {
    const NAME: &'static str = "stub";

    fn choose(command_line: &'static str) -> Result<(Self, &'static str), Refusal> {
        let (name, rest) = choose(command_line);
        if name != Some("hermit-loader") {
            return Err(Refusal::CommandLine("say stub=hermit-loader"));
        }
        Ok((Self, rest.leak()))
    }

    fn enter(self, kernel: Kernel) -> ! {
        let image = &kernel.loaded.load_info.kernel_image_addr_range;
        if image.end > tables::MAPPED_END {
            refuse(format_args!("the stub's tables end at {:#x}, before the image does", tables::MAPPED_END));
        }
        publish(image);
        let entry = kernel.loaded.entry_point;
        let last = kernel.memory.iter().map(|region| region.end).max();
        let boot_info = BootInfo {
            hardware_info: HardwareInfo {
                phys_addr_range: 0..last.unwrap_or(0),
                serial_port_base: SerialPortBase::new(tables::SERIAL_PORT),
                device_tree: DeviceTreeAddress::new(kernel.device_tree.as_ptr().expose_provenance() as u64),
            },
            load_info: kernel.loaded.load_info,
            platform_info: PlatformInfo::LinuxBoot,
        };
        let boot_info = spoil(RawBootInfo::from(boot_info), UNUSED);
        let root = tables::build(console::address());
        // SAFETY: the kernel is loaded and published, its boot information and stack are never used here again, and all
        // of it lies in what the tables map.
        unsafe { enter(boot_info, 0, entry, stack_end(), root) }
    }
}
