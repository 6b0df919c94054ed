//! From the firmware's memory map to the kernel's first instruction: the same on every machine.
//!
//! Whatever goes wrong ends in two lines on the serial port (what, then the last line that scripts look for) and the
//! exit code 106: a loader that hangs or resets would tell nobody anything.

#![expect(unsafe_code, reason = "reads the image behind its header and lets the kernel be written to its place")]

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::panic::PanicInfo;
use core::{ptr, slice};

use fdt::node::FdtNode;
use hermit_entry::elf::{KernelObject, LoadedKernel};

use crate::arch::{self, console::Console};
use crate::check::check;
use crate::embed::{HEADER_BYTES, ImageHeader};
use crate::graft::graft;
use crate::memory::{place, usable};
use crate::refusal::Refusal;
use crate::tree::Tree;

/// The exit code of a boot that was refused; it stands in the last line as well.
pub(crate) const EXIT_BOOT_REFUSED: u32 = 106;

/// The longest command line that is handed on, in bytes.
pub const MAX_COMMAND_LINE_BYTES: usize = 4096;

/// The header of the packed image; the linker script puts it at the loader's end, the packer fills it in.
#[unsafe(link_section = ".image")]
static IMAGE: ImageHeader = ImageHeader::EMPTY;

/// What the machine's firmware tells.
#[derive(Debug)]
pub struct Firmware {
    /// Stretches of usable RAM, whole pages, in physical addresses.
    pub memory: Vec<Range<u64>>,
    /// The command line, as it was given.
    pub command_line: String,
    /// What the kernel's device tree is made from.
    pub origin: Origin,
    /// The CPU's cycle counter at the loader's first instruction.
    pub counter_at_start: u64,
}

/// Where the firmware describes the machine.
#[derive(Debug)]
pub enum Origin {
    /// In ACPI tables, if at all: the kernel's device tree is written anew.
    Acpi {
        /// Physical address of the tables' root pointer.
        rsdp: Option<u64>,
    },
    /// In a device tree, which is copied. The kernel may come to lie where it is.
    Tree {
        /// All of it.
        bytes: &'static [u8],
        /// Its node for the command line.
        chosen: FdtNode<'static, 'static>,
    },
}

/// A kernel in its place, and what to tell it.
#[derive(Debug)]
pub struct Kernel {
    /// Where it lies and where it starts.
    pub loaded: LoadedKernel,
    /// Its device tree.
    pub device_tree: &'static [u8],
    /// Its command line, which stands in the device tree too.
    pub command_line: &'static str,
    /// Stretches of usable RAM, in physical addresses.
    pub memory: Vec<Range<u64>>,
}

/// How a kernel is entered: what a loader and the test stub differ in.
pub trait Handover: Sized {
    /// What it calls itself in its first line.
    const NAME: &'static str;

    /// Takes from the command line what is meant for the loader, and returns the rest.
    ///
    /// # Errors
    ///
    /// What cannot be understood.
    fn choose(command_line: &'static str) -> Result<(Self, &'static str), Refusal>;

    /// Enters the kernel.
    fn enter(self, kernel: Kernel) -> !;
}

/// Says its name, then loads and enters the kernel, or says why not.
pub fn run<H: Handover>(firmware: impl FnOnce() -> Result<Firmware, Refusal>) -> ! {
    arch::console::init();
    say(format_args!("ebbtide: {} {}", H::NAME, env!("CARGO_PKG_VERSION")));
    match firmware().and_then(prepare::<H>) {
        Ok((handover, kernel)) => handover.enter(kernel),
        Err(refusal) => refuse(format_args!("{refusal}")),
    }
}

/// Says why the boot is refused, in the form that scripts rely on, and ends the machine.
pub fn refuse(reason: fmt::Arguments<'_>) -> ! {
    say(format_args!("ebbtide: boot refused: {reason}"));
    say(format_args!("ebbtide: end code={EXIT_BOOT_REFUSED} reason=boot-refused"));
    arch::exit::end(EXIT_BOOT_REFUSED)
}

fn say(line: fmt::Arguments<'_>) {
    // The console cannot fail; what a formatter may report has nowhere to go.
    let _ = writeln!(Console, "{line}");
}

fn prepare<H: Handover>(firmware: Firmware) -> Result<(H, Kernel), Refusal> {
    let Firmware { memory, command_line, origin, counter_at_start } = firmware;
    let (handover, command_line) = H::choose(command_line.leak())?;

    let image = packed_image(&memory)?;
    let checked = check(image, arch::MACHINE)?;
    let object = KernelObject::parse(image)?;
    let occupied_end = image.as_ptr_range().end.addr() as u64;
    let range = place(&memory, occupied_end, checked.memory_bytes, checked.fixed_start)?;

    let device_tree = match origin {
        Origin::Acpi { rsdp } => Tree { memory: &memory, command_line, counter_at_start, rsdp }.write()?,
        Origin::Tree { bytes, chosen } => graft(bytes, &chosen, command_line, counter_at_start)?,
    };
    let device_tree = device_tree.leak();

    let start = ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(range.start as usize);
    // SAFETY: `place` gave a range of RAM that the loader's tables map, above all that the loader uses.
    let place = unsafe { slice::from_raw_parts_mut(start, checked.memory_bytes as usize) };
    let loaded = object.load_kernel(place, range.start);
    Ok((handover, Kernel { loaded, device_tree, command_line, memory }))
}

/// Returns the image that was packed with the loader, after checking that it arrived whole.
fn packed_image(memory: &[Range<u64>]) -> Result<&'static [u8], Refusal> {
    let header = &raw const IMAGE;
    let first = header.expose_provenance() + HEADER_BYTES;
    // Nothing behind the end of the RAM that the header lies in can hold the image.
    let region = memory.iter().find(|region| region.contains(&(first as u64)));
    let space = region.map_or(0, |region| region.end - first as u64);

    // SAFETY: it is an initialised static; volatile, because the packer changed it behind the compiler's back.
    let header = unsafe { header.read_volatile() };
    let length = header.length_within(space)?;
    debug_assert!(usable(memory, &(first as u64..(first + length) as u64)));
    // SAFETY: the packed file was loaded to `first`, all of it lies in RAM, and nothing writes to it.
    let image = unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(first), length) };
    header.verify(image)?;
    Ok(image)
}

/// Ends a boot in which the loader itself failed.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("?", 0), |place| (place.file(), place.line()));
    refuse(format_args!("the loader failed: {} ({file}:{line})", info.message()))
}
