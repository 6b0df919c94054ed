//! Enters the kernel as another loader would.

#![expect(unsafe_code, reason = "sets control registers, spoils unused bytes, and enters the kernel")]

use alloc::boxed::Box;
use alloc::string::String;
use core::num::NonZeroU64;
use core::ops::Range;

use ebbtide_loader::boot::{Handover, Kernel, refuse};
use ebbtide_loader::refusal::Refusal;
use ebbtide_loader::x86_64::console::COM1;
use ebbtide_loader::x86_64::enter::enter;
use ebbtide_loader::x86_64::pvh::PvhNote;
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

/// The word of the command line that is the stub's.
const WORD: &str = "stub=";

/// Bytes of the boot information that mean nothing: behind the serial port's number, behind the platform's. Loaders
/// leave there what was on their stack.
const UNUSED: [Range<usize>; 2] = [18..24, 84..88];
const GARBAGE: u8 = 0xa5;

const _: () = assert!(size_of::<RawBootInfo>() == 128, "the layout is that of hermit-entry 0.10");

struct Stub(Loader);

impl Handover for Stub {
    const NAME: &'static str = "stub";

    fn choose(command_line: &'static str) -> Result<(Self, &'static str), Refusal> {
        let mut rest = String::new();
        let mut loader = None;
        for word in command_line.split(' ') {
            if let Some(name) = word.strip_prefix(WORD) {
                loader = Loader::by_name(name);
            } else {
                if !rest.is_empty() {
                    rest.push(' ');
                }
                rest.push_str(word);
            }
        }
        let loader = loader.ok_or(Refusal::CommandLine("say stub=hermit-loader or stub=uhyve"))?;
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
        let boot_info = spoil(RawBootInfo::from(self.boot_info(kernel, ram_end)));
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

/// Puts garbage where boot information has no meaning.
fn spoil(boot_info: RawBootInfo) -> &'static RawBootInfo {
    let boot_info = Box::into_raw(Box::new(boot_info));
    for at in UNUSED.into_iter().flatten() {
        // SAFETY: it lies within the structure, in bytes that belong to no value.
        let byte = unsafe { boot_info.cast::<u8>().add(at) };
        // SAFETY: as above.
        unsafe { byte.write(GARBAGE) };
    }
    // SAFETY: it was made by a `Box` just now, and is never freed.
    unsafe { &*boot_info }
}
