//! Turns what a loader hands over into the boot information that the kernel keeps.

#![expect(unsafe_code, reason = "reads the device tree where the loader left it")]

use core::ops::Range;
use core::{ptr, slice};

use ebbtide_core::boot::{BootInfo, MemoryRegion};
use fdt::Fdt;
use fdt::node::FdtNode;
use heapless::Vec;
use hermit_entry::boot_info::RawBootInfo;
use memory_addresses::PhysAddr;

use crate::error::BootError;
use crate::{arch, raw, tree};

/// The only unit in which memory is used, in bytes.
const PAGE_BYTES: u64 = 4 << 10;

/// Copies everything the kernel needs out of a loader's boot information and device tree.
///
/// Memory regions come out in ascending order, cut to whole pages, not overlapping. The command line is the device
/// tree's, or else the platform's own. `cpu` is the number of the CPU that boots, as the entry point was told.
///
/// # Errors
///
/// What is missing, damaged, or more than the kernel keeps.
pub fn boot_info(raw: &RawBootInfo, cpu: u32) -> Result<BootInfo, BootError> {
    let info = raw::read(raw)?;
    let address = info.hardware_info.device_tree.ok_or(BootError::NoTree)?.get();
    // SAFETY: hermit-entry promises a device tree there, mapped at its own address.
    let bytes = unsafe { tree_at(address) }?;
    let mut boot_info = from_tree(bytes, arch::command_line(&info.platform_info))?;
    boot_info.image = image(info.load_info.kernel_image_addr_range, &boot_info.memory)?;
    boot_info.serial_port = info.hardware_info.serial_port_base.map(|port| widen(port.get()));
    boot_info.cpu = cpu;
    Ok(boot_info)
}

/// The device tree, if there is one and it is well-formed. What [`boot_info`] would refuse is no tree.
#[must_use]
pub fn device_tree(raw: &RawBootInfo) -> Option<&'static [u8]> {
    let address = raw::read(raw).ok()?.hardware_info.device_tree?.get();
    // SAFETY: hermit-entry promises a device tree there, mapped at its own address.
    let bytes = unsafe { tree_at(address) }.ok()?;
    tree::check(bytes).ok()?;
    Some(bytes)
}

/// The serial port that the loader names: an I/O port on x86_64, else the address at which the loader has its registers.
#[must_use]
pub fn serial_port(raw: &RawBootInfo) -> Option<u64> {
    raw::read(raw).ok()?.hardware_info.serial_port_base.map(|port| widen(port.get()))
}

/// A serial port's number or address, which is as wide as the architecture has it.
fn widen(port: impl Into<u64>) -> u64 {
    port.into()
}

/// Returns the device tree at `address`.
///
/// # Safety
///
/// There is a device tree at `address`, and nothing writes to it.
unsafe fn tree_at(address: u64) -> Result<&'static [u8], BootError> {
    let start = ptr::with_exposed_provenance(address as usize);
    // SAFETY: a device tree starts with a header of this size.
    let header = unsafe { slice::from_raw_parts(start, tree::HEADER_BYTES) };
    let bytes = tree::total_bytes(header)?;
    // SAFETY: it is as long as its header says.
    Ok(unsafe { slice::from_raw_parts(start, bytes) })
}

/// Reads what stands in the device tree.
pub fn from_tree(bytes: &[u8], fallback_command_line: Option<&str>) -> Result<BootInfo, BootError> {
    tree::check(bytes)?;
    let tree = Fdt::new(bytes).map_err(|_| tree::TreeError::Header)?;
    let root = tree.find_node("/").ok_or(tree::TreeError::Structure { at: 0 })?;
    let Nodes { memory, chosen, acpi_root } = Nodes::of(root)?;
    let property = |name| chosen.and_then(|node| node.property(name));

    let command_line = match property("bootargs") {
        Some(bootargs) => bootargs.as_str().ok_or(BootError::CommandLineText)?,
        None => fallback_command_line.unwrap_or_default(),
    };
    let counter = property("ebbtide,boot-counter").and_then(|counter| counter.value.try_into().ok());
    let too_long = BootError::LongCommandLine { bytes: command_line.len() as u64 };
    let nowhere = PhysAddr::new(0);
    Ok(BootInfo {
        memory,
        command_line: command_line.try_into().map_err(|_| too_long)?,
        image: nowhere..nowhere,
        counter_at_start: counter.map(u64::from_be_bytes),
        serial_port: None,
        acpi_root,
        cpu: 0,
    })
}

/// What the nodes below the root say.
struct Nodes<'b, 'a, const N: usize> {
    /// The RAM that all memory nodes name, in ascending order.
    memory: Vec<MemoryRegion, N>,
    chosen: Option<FdtNode<'b, 'a>>,
    /// The address of the node that hermit-loader writes for ACPI.
    acpi_root: Option<PhysAddr>,
}

impl<'b, 'a, const N: usize> Nodes<'b, 'a, N> {
    /// Goes over the nodes once: to find the next, all of the one before is read.
    fn of(root: FdtNode<'b, 'a>) -> Result<Self, BootError> {
        let mut nodes = Self { memory: Vec::new(), chosen: None, acpi_root: None };
        for node in root.children() {
            match node.name.split('@').next() {
                Some("memory") => add(&mut nodes.memory, node)?,
                Some("chosen") => nodes.chosen = nodes.chosen.or(Some(node)),
                Some("hermit,rsdp") => nodes.acpi_root = address(node),
                _ => {}
            }
        }
        merge(&mut nodes.memory);
        if nodes.memory.is_empty() { Err(BootError::NoMemory) } else { Ok(nodes) }
    }
}

/// Adds the RAM that a memory node names, in ascending order.
fn add<const N: usize>(regions: &mut Vec<MemoryRegion, N>, node: FdtNode<'_, '_>) -> Result<(), BootError> {
    for region in node.reg().into_iter().flatten() {
        let (start, bytes) = (region.starting_address.addr() as u64, region.size.unwrap_or(0) as u64);
        if let Some(region) = whole_pages(start, bytes)? {
            let behind = regions.partition_point(|other| other.start <= region.start);
            regions.insert(behind, region).map_err(|_| BootError::TooManyRegions)?;
        }
    }
    Ok(())
}

/// The first address of a node.
fn address(node: FdtNode<'_, '_>) -> Option<PhysAddr> {
    PhysAddr::try_new(node.reg()?.next()?.starting_address.addr() as u64).ok()
}

/// Cuts a stretch of memory to whole pages; [`None`] if none is left.
fn whole_pages(start: u64, bytes: u64) -> Result<Option<MemoryRegion>, BootError> {
    let error = BootError::Region { start, bytes };
    let end = start.checked_add(bytes).ok_or(error)?;
    let start = start.checked_next_multiple_of(PAGE_BYTES).ok_or(error)?;
    let end = end - end % PAGE_BYTES;
    let [start, end] = [start, end].map(PhysAddr::try_new);
    let region = MemoryRegion { start: start.map_err(|_| error)?, end: end.map_err(|_| error)? };
    Ok((region.start < region.end).then_some(region))
}

/// Joins those of the regions that touch or overlap; they are in ascending order.
fn merge<const N: usize>(regions: &mut Vec<MemoryRegion, N>) {
    let mut last = 0;
    for at in 1..regions.len() {
        let next = regions[at];
        if next.start <= regions[last].end {
            regions[last].end = regions[last].end.max(next.end);
        } else {
            last += 1;
            regions[last] = next;
        }
    }
    regions.truncate(last + 1);
}

/// Checks that the image lies in usable RAM.
fn image(range: Range<u64>, memory: &[MemoryRegion]) -> Result<Range<PhysAddr>, BootError> {
    let error = BootError::Image { start: range.start, end: range.end };
    let [start, end] = [range.start, range.end].map(PhysAddr::try_new);
    let (start, end) = (start.map_err(|_| error)?, end.map_err(|_| error)?);
    let inside = memory.iter().any(|region| region.start <= start && end <= region.end);
    if inside && start < end { Ok(start..end) } else { Err(error) }
}

#[cfg(test)]
mod tests;
