//! The device tree that tells a kernel about the machine: the same one that hermit-loader synthesises on x86_64.
//!
//! ```text
//! / { compatible = "hermit,ebbtide"; #address-cells = <2>; #size-cells = <2>;
//!     memory@START { device_type = "memory"; reg = <START SIZE>; };      one for each stretch of usable RAM
//!     hermit,rsdp@ADDRESS { reg = <ADDRESS 1>; };                        if there are ACPI tables
//!     chosen { bootargs = "the command line"; ebbtide,boot-counter = <64 bits>; };
//! };
//! ```

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use vm_fdt::{FdtWriter, FdtWriterResult};

/// What the device tree says.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    /// Stretches of usable RAM, in physical addresses.
    pub memory: &'a [Range<u64>],
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The CPU's cycle counter at the loader's first instruction.
    pub counter_at_start: u64,
    /// Physical address of the ACPI tables' root pointer.
    pub rsdp: Option<u64>,
}

impl Tree<'_> {
    /// Writes the tree as a flattened device tree.
    ///
    /// # Errors
    ///
    /// The writer's, such as a command line with a zero byte in it.
    pub fn write(&self) -> FdtWriterResult<Vec<u8>> {
        let mut writer = FdtWriter::new()?;
        let root = writer.begin_node("")?;
        writer.property_string("compatible", "hermit,ebbtide")?;
        writer.property_u32("#address-cells", 2)?;
        writer.property_u32("#size-cells", 2)?;
        for region in self.memory {
            let node = writer.begin_node(&format!("memory@{:x}", region.start))?;
            writer.property_string("device_type", "memory")?;
            writer.property_array_u64("reg", &[region.start, region.end - region.start])?;
            writer.end_node(node)?;
        }
        if let Some(rsdp) = self.rsdp {
            let node = writer.begin_node(&format!("hermit,rsdp@{rsdp:x}"))?;
            writer.property_array_u64("reg", &[rsdp, 1])?;
            writer.end_node(node)?;
        }
        let chosen = writer.begin_node("chosen")?;
        writer.property_string("bootargs", self.command_line)?;
        writer.property_u64("ebbtide,boot-counter", self.counter_at_start)?;
        writer.end_node(chosen)?;
        writer.end_node(root)?;
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_finds_in_it_what_was_put_in() {
        let tree = Tree {
            memory: &[0x1000..0x9f000, 0x10_0000..0x80_0000, 1 << 32..5 << 32],
            command_line: "app --flag ebbtide.log=debug",
            counter_at_start: 0x1234_5678_9abc,
            rsdp: Some(0xf_5a00),
        };
        let bytes = tree.write().unwrap();
        let read = fdt::Fdt::new(&bytes).unwrap();
        assert_eq!(read.chosen().bootargs(), Some(tree.command_line));
        let counter = read.find_node("/chosen").unwrap().property("ebbtide,boot-counter").unwrap();
        assert_eq!(counter.value, tree.counter_at_start.to_be_bytes());
        let memory = read.find_node("/").unwrap();
        let memory = memory.children().filter(|node| node.name.starts_with("memory@"));
        let regions = memory.flat_map(|node| node.reg().unwrap()).map(|region| {
            let start = region.starting_address.addr() as u64;
            start..start + region.size.unwrap() as u64
        });
        assert!(regions.eq(tree.memory.iter().cloned()));
    }

    #[test]
    fn a_zero_byte_in_the_command_line_is_an_error() {
        let tree = Tree { memory: &[], command_line: "a\0b", counter_at_start: 0, rsdp: None };
        assert!(tree.write().is_err());
    }
}
