//! What QEMU hands over: a device tree, with memory map, command line and devices.

#![expect(unsafe_code, reason = "reads a device tree that the firmware left in memory")]

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::{ptr, slice};

use fdt::Fdt;
use fdt::node::FdtNode;

use super::{console, exit};
use crate::boot::{Firmware, MAX_COMMAND_LINE_BYTES, Origin};
use crate::memory::whole_pages;
use crate::refusal::Refusal;

/// The first word of a device tree, big-endian, and the largest that is believed; QEMU's take 1 MiB.
const MAGIC: u32 = 0xd00d_feed;
const MAX_BYTES: u32 = 2 << 20;

/// Below lie devices, from [`MEMORY_END`] on nothing that the loader's table maps.
const MEMORY_START: u64 = 1 << 30;
const MEMORY_END: u64 = 4 << 30;

/// Copies what the kernel will be told out of the device tree at physical address `address`.
///
/// # Errors
///
/// What is missing or cannot be understood.
///
/// # Safety
///
/// `address` is what came in x0 at the entry, and the memory has not been written to since.
pub unsafe fn read(address: u64, counter_at_start: u64) -> Result<Firmware, Refusal> {
    // SAFETY: by this function's own contract.
    let bytes = unsafe { bytes(address) }.ok_or(Refusal::Firmware("no device tree; boot with `qemu -kernel`"))?;
    let tree = Fdt::new(bytes).map_err(|_| Refusal::Firmware("the device tree's header is damaged"))?;
    let tree: &'static Fdt<'static> = Box::leak(Box::new(tree));
    let found = Found::look(tree.find_node("/").ok_or(Refusal::Firmware("the device tree is empty"))?);

    if let Some(method) = found.psci.and_then(|psci| psci.property("method")?.as_str()) {
        exit::assume_conduit(method == "smc");
    }
    if let Some(port) = found.port.and_then(|port| port.reg()?.next()) {
        console::move_to(port.starting_address.addr() as u64);
    }
    let chosen = found.chosen.ok_or(Refusal::Firmware("the device tree has no /chosen"))?;
    let command_line = command_line(&chosen)?;
    Ok(Firmware { memory: found.memory, command_line, origin: Origin::Tree { bytes, chosen }, counter_at_start })
}

/// What is looked for in the device tree. A walk over its 300 properties costs some 50,000 instructions: there is one.
#[derive(Default)]
struct Found {
    memory: Vec<Range<u64>>,
    chosen: Option<FdtNode<'static, 'static>>,
    psci: Option<FdtNode<'static, 'static>>,
    port: Option<FdtNode<'static, 'static>>,
}

impl Found {
    fn look(root: FdtNode<'static, 'static>) -> Self {
        let mut found = Self::default();
        for node in root.children() {
            match node.name.split('@').next() {
                Some("memory") => {
                    let regions = node.reg().into_iter().flatten();
                    found.memory.extend(regions.filter_map(|region| {
                        whole_pages(region.starting_address.addr() as u64, region.size.unwrap_or(0) as u64)
                    }));
                }
                Some("chosen") => found.chosen = Some(node),
                Some("psci") => found.psci = Some(node),
                Some("pl011") if is_enabled(&node) => found.port = Some(node),
                _ => {}
            }
        }
        found
    }
}

/// Says whether a device is ours: with `secure=on` there is a second serial port that is not.
fn is_enabled(node: &FdtNode<'_, '_>) -> bool {
    node.property("status").is_none_or(|status| matches!(status.as_str(), Some("okay" | "ok")))
}

fn command_line(chosen: &FdtNode<'_, '_>) -> Result<String, Refusal> {
    let Some(line) = chosen.property("bootargs") else {
        return Ok(String::new());
    };
    if line.value.len() > MAX_COMMAND_LINE_BYTES + 1 {
        return Err(Refusal::CommandLine("longer than 4096 bytes; make it shorter"));
    }
    line.as_str().map(String::from).ok_or(Refusal::CommandLine("not UTF-8; write it in UTF-8"))
}

/// The bytes of the device tree, if there is one.
///
/// # Safety
///
/// As [`read`].
unsafe fn bytes(address: u64) -> Option<&'static [u8]> {
    let mapped = (MEMORY_START..MEMORY_END - u64::from(MAX_BYTES)).contains(&address);
    if !mapped || !address.is_multiple_of(size_of::<u64>() as u64) {
        return None;
    }
    let start = ptr::with_exposed_provenance::<u8>(address as usize);
    // SAFETY: the address is mapped; a device tree starts with its magic word and its length.
    let header = unsafe { slice::from_raw_parts(start.cast::<u32>(), 2) };
    let [magic, length] = [header[0], header[1]].map(u32::from_be);
    // SAFETY: it is as long as it says, and mapped to its end.
    (magic == MAGIC && length <= MAX_BYTES).then(|| unsafe { slice::from_raw_parts(start, length as usize) })
}
