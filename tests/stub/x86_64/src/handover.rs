//! Enters the kernel as another loader would.

#![expect(unsafe_code, reason = "sets control registers, and enters the kernel")]

use alloc::boxed::Box;
use core::num::NonZeroU64;
use core::ops::Range;

use ebbtide_loader::boot::{Handover, Kernel, refuse};
use ebbtide_loader::refusal::Refusal;
use ebbtide_loader::x86_64::console::COM1;
use ebbtide_loader::x86_64::enter::enter;
use ebbtide_loader::x86_64::pvh::PvhNote;
use ebbtide_stub::{choose, spoil};
use hermit_entry::boot_info::{BootInfo, DeviceTreeAddress, HardwareInfo, PlatformInfo, RawBootInfo, SerialPortBase};
use time::OffsetDateTime;
use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::registers::control::{Cr0, Cr4, Efer};
use x86_64::structures::DescriptorTablePointer;

use crate::state::{Loader, Registers};
use crate::{stack, tables};

#[used]
#[unsafe(link_section = ".note.Xen")]
static NOTE: PvhNote = PvhNote::new::<Stub>();

/// Bytes of the boot information that mean nothing: behind the serial port's number, behind the platform's.
const UNUSED: [Range<usize>; 2] = [18..24, 84..88];

struct Stub(Loader);

impl Handover for Stub {
    const NAME: &'static str = "stub";

    fn choose(command_line: &'static str) -> Result<(Self, &'static str), Refusal> {
        let (name, rest) = choose(command_line);
        let loader =
            name.and_then(Loader::by_name).ok_or(Refusal::CommandLine("say stub=hermit-loader or stub=uhyve"))?;
        Ok((Self(loader), rest.leak()))
    }

    fn enter(self, kernel: Kernel) -> ! {
        let ram_end = kernel.memory.iter().map(|region| region.end).max().unwrap_or(0);
        let mapped_end = match self.0 {
            Loader::HermitLoader => ram_end,
            Loader::Uhyve => kernel.loaded.load_info.kernel_image_addr_range.end,
        };
        if !tables::build(mapped_end, stack::guard()) {
            refuse(format_args!("the stub's tables end at 20 GiB; give the guest less memory"));
        }
        let entry = kernel.loaded.entry_point;
        let boot_info = spoil(RawBootInfo::from(self.boot_info(kernel, ram_end)), UNUSED.into_iter().flatten());
        let Registers { cr0, cr4, efer } = self.0.registers();
        let no_table = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };

        // SAFETY: nothing raises an interrupt or a trap from here on; if something does, the machine shall reset.
        unsafe { lidt(&no_table) };
        // SAFETY: they were built just now, to behind the stub and the image.
        unsafe { tables::load() };
        // SAFETY: paging stays on, and no code here relies on what is switched off.
        unsafe { Cr4::write_raw(cr4.bits()) };
        // SAFETY: as above.
        unsafe { Efer::write_raw(efer.bits()) };
        // SAFETY: as above.
        unsafe { Cr0::write_raw(cr0.bits()) };
        // SAFETY: the kernel is loaded, its boot information and stack are never used here again.
        unsafe { enter(boot_info, 0, entry, stack::lowest()) }
    }
}

impl Stub {
    fn boot_info(&self, kernel: Kernel, ram_end: u64) -> BootInfo {
        let other = Box::leak(Box::new(0_u64));
        let (phys_addr_range, platform_info) = match self.0 {
            Loader::HermitLoader => (
                0..0,
                PlatformInfo::Multiboot {
                    command_line: Some(kernel.command_line),
                    multiboot_info_addr: NonZeroU64::new(core::ptr::from_mut(other).expose_provenance() as u64)
                        .expect("the heap is not at 0"),
                },
            ),
            Loader::Uhyve => (
                0..ram_end,
                PlatformInfo::Uhyve {
                    has_pci: false,
                    num_cpus: NonZeroU64::MIN,
                    cpu_freq: None,
                    boot_time: OffsetDateTime::UNIX_EPOCH,
                },
            ),
        };
        BootInfo {
            hardware_info: HardwareInfo {
                phys_addr_range,
                serial_port_base: SerialPortBase::new(COM1),
                device_tree: DeviceTreeAddress::new(kernel.device_tree.as_ptr().expose_provenance() as u64),
            },
            load_info: kernel.loaded.load_info,
            platform_info,
        }
    }
}
