extern crate std;

use core::num::{NonZeroU16, NonZeroU64};
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;

use ebbtide_core::boot::MAX_COMMAND_LINE_BYTES;
use hermit_entry::boot_info::{BootInfo as Handed, HardwareInfo, LoadInfo, PlatformInfo};
use proptest::prelude::*;
use vm_fdt::FdtWriter;

use super::*;
use crate::tree::TreeError;

const MIB: u64 = 1 << 20;

fn tree(memory: &[[u64; 2]], command_line: Option<&[u8]>, counter: Option<&[u8]>) -> std::vec::Vec<u8> {
    let mut writer = FdtWriter::new().unwrap();
    let root = writer.begin_node("").unwrap();
    writer.property_u32("#address-cells", 2).unwrap();
    writer.property_u32("#size-cells", 2).unwrap();
    for region in memory {
        let node = writer.begin_node(&format!("memory@{:x}", region[0])).unwrap();
        writer.property_array_u64("reg", region).unwrap();
        writer.end_node(node).unwrap();
    }
    let node = writer.begin_node("hermit,rsdp@f5a10").unwrap();
    writer.property_array_u64("reg", &[0xf_5a10, 1]).unwrap();
    writer.end_node(node).unwrap();
    let chosen = writer.begin_node("chosen").unwrap();
    let properties = [("bootargs", command_line), ("ebbtide,boot-counter", counter)];
    for (name, value) in properties {
        if let Some(value) = value {
            writer.property(name, value).unwrap();
        }
    }
    writer.end_node(chosen).unwrap();
    writer.end_node(root).unwrap();
    writer.finish().unwrap()
}

fn region(start: u64, end: u64) -> MemoryRegion {
    MemoryRegion { start: PhysAddr::new(start), end: PhysAddr::new(end) }
}

#[test]
fn everything_is_read() {
    let memory = [[0x123, 0x9f000], [4 << 30, 2 << 30], [2 * MIB, 6 * MIB], [MIB, MIB]];
    let tree = tree(&memory, Some(b"app --flag\0"), Some(&7_u64.to_be_bytes()));
    let info = from_tree(&tree, Some("not this one")).unwrap();
    let expected = [region(0x1000, 0x9f000), region(MIB, 8 * MIB), region(4 << 30, 6 << 30)];
    assert_eq!(info.memory, expected);
    assert_eq!(info.command_line, "app --flag");
    assert_eq!(info.counter_at_start, Some(7));
    assert_eq!(info.acpi_root, Some(PhysAddr::new(0xf_5a10)));
}

#[test]
fn without_bootargs_the_platforms_command_line_counts() {
    let tree = tree(&[[MIB, MIB]], None, Some(b"short"));
    let info = from_tree(&tree, Some("app")).unwrap();
    assert_eq!((info.command_line.as_str(), info.counter_at_start), ("app", None));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let line = vec![b'x'; MAX_COMMAND_LINE_BYTES];
    assert!(from_tree(&tree(&[[MIB, MIB]], Some(&line), None), None).is_ok());
    let line = vec![b'x'; MAX_COMMAND_LINE_BYTES + 1];
    let error = BootError::LongCommandLine { bytes: line.len() as u64 };
    assert_eq!(from_tree(&tree(&[[MIB, MIB]], Some(&line), None), None).err(), Some(error));

    let regions: std::vec::Vec<_> = (1..34).map(|at| [at * MIB, MIB / 2]).collect();
    assert_eq!(from_tree(&tree(&regions[..32], None, None), None).unwrap().memory.len(), 32);
    assert_eq!(from_tree(&tree(&regions, None, None), None).err(), Some(BootError::TooManyRegions));
}

#[test]
fn nonsense_is_an_error() {
    assert_eq!(from_tree(&tree(&[], None, None), None).err(), Some(BootError::NoMemory));
    assert_eq!(from_tree(&tree(&[[MIB, 17]], None, None), None).err(), Some(BootError::NoMemory));
    for [start, bytes] in [[u64::MAX - 5000, 5001], [1 << 60, MIB]] {
        let refused = from_tree(&tree(&[[start, bytes]], None, None), None);
        assert_eq!(refused.err(), Some(BootError::Region { start, bytes }));
    }
    assert_eq!(from_tree(&tree(&[[MIB, MIB]], Some(b"\xff"), None), None).err(), Some(BootError::CommandLineText));
    assert_eq!(from_tree(&[], None).err(), Some(BootError::Tree(TreeError::Header)));
    let whole = tree(&[[MIB, MIB]], None, None);
    assert_eq!(from_tree(&whole[..whole.len() - 1], None).err(), Some(BootError::Tree(TreeError::Size)));
}

fn handed(image: Range<u64>, device_tree: &'static [u8]) -> RawBootInfo {
    RawBootInfo::from(Handed {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..0,
            serial_port_base: NonZeroU16::new(0x3f8),
            device_tree: NonZeroU64::new(device_tree.as_ptr().expose_provenance() as u64),
        },
        load_info: LoadInfo { kernel_image_addr_range: image, tls_info: None },
        platform_info: PlatformInfo::Fdt,
    })
}

#[test]
fn a_loaders_boot_information_is_read() {
    let tree = Box::leak(tree(&[[MIB, 3 * MIB]], Some(b"app\0"), None).into_boxed_slice());
    let info = boot_info(&handed(2 * MIB..3 * MIB, tree), 3).unwrap();
    assert_eq!(info.image, PhysAddr::new(2 * MIB)..PhysAddr::new(3 * MIB));
    assert_eq!((info.serial_port, info.cpu), (Some(0x3f8), 3));
    for image in [0..MIB, MIB..MIB, 3 * MIB..5 * MIB, 0..u64::MAX] {
        let error = BootError::Image { start: image.start, end: image.end };
        assert_eq!(boot_info(&handed(image, tree), 0).err(), Some(error));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a tree on its way, reading it ends in a result.
    #[test]
    fn a_damaged_tree_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        words in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![0..12_u32, any::<u32>()]), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = tree(&[[MIB, MIB], [4 * MIB, MIB]], Some(b"app --flag\0"), Some(&[1; 8]));
        for (at, value) in words {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _: Result<_, String> = from_tree(&bytes, None).map_err(|error| format!("{error}"));
    }
}
