//! Trees as QEMU and others write them, but for what is not looked at.

use vm_fdt::FdtWriter;

use super::*;

/// A CPU of a tree.
struct Node {
    name: &'static str,
    affinity: u64,
    method: Option<&'static str>,
    status: Option<&'static str>,
}

impl Node {
    const fn new(name: &'static str, affinity: u64) -> Self {
        Self { name, affinity, method: Some("psci"), status: None }
    }
}

/// A tree with the CPUs, whose affinities take so many cells.
fn tree(cells: u32, cpus: &[Node], more: impl Fn(&mut FdtWriter)) -> Vec<u8> {
    let mut writer = FdtWriter::new().unwrap();
    let root = writer.begin_node("").unwrap();
    writer.property_u32("#address-cells", 2).unwrap();
    writer.property_u32("#size-cells", 2).unwrap();
    more(&mut writer);
    let all = writer.begin_node("cpus").unwrap();
    writer.property_u32("#address-cells", cells).unwrap();
    writer.property_u32("#size-cells", 0).unwrap();
    for cpu in cpus {
        let node = writer.begin_node(cpu.name).unwrap();
        match cells {
            1 => writer.property_u32("reg", cpu.affinity as u32).unwrap(),
            _ => writer.property_u64("reg", cpu.affinity).unwrap(),
        }
        if let Some(method) = cpu.method {
            writer.property_string("enable-method", method).unwrap();
        }
        if let Some(status) = cpu.status {
            writer.property_string("status", status).unwrap();
        }
        writer.end_node(node).unwrap();
    }
    writer.end_node(all).unwrap();
    writer.end_node(root).unwrap();
    writer.finish().unwrap()
}

fn psci(writer: &mut FdtWriter) {
    let node = writer.begin_node("psci").unwrap();
    writer.property_string("compatible", "arm,psci-1.0").unwrap();
    writer.property_string("method", "smc").unwrap();
    writer.end_node(node).unwrap();
}

/// The affinities that are found when the CPU of affinity `boot` reads the tree.
fn affinities(tree: &[u8], boot: u64) -> Vec<u64> {
    let cpus = Devices::read(tree, Affinity::new(boot)).cpus;
    (0..).map_while(|number| cpus.affinity(number)).map(Affinity::as_u64).collect()
}

#[test]
fn cpus_are_numbered_in_the_order_of_the_tree() {
    let cpus = [Node::new("cpu@0", 0), Node::new("cpu@1", 1), Node::new("cpu@100", 0x100)];
    let tree = tree(1, &cpus, psci);
    assert_eq!(affinities(&tree, 0), [0, 1, 0x100]);
    assert_eq!(Devices::read(&tree, Affinity::default()).conduit, Some(Conduit::Smc));
}

#[test]
fn the_cpu_that_boots_is_0_wherever_the_tree_has_it() {
    let tree = tree(1, &[Node::new("cpu@0", 0), Node::new("cpu@1", 1), Node::new("cpu@2", 2)], psci);
    // MPIDR_EL1 says more than who it is: bit 31 is always 1, and here bit 24, multithreading.
    assert_eq!(affinities(&tree, 0x8100_0001), [1, 0, 2]);
}

#[test]
fn affinities_may_have_a_level_3() {
    let cpus = [Node::new("cpu@0", 0), Node::new("cpu@1,00020304", 0x01_0002_0304)];
    let tree = tree(2, &cpus, psci);
    assert_eq!(affinities(&tree, 0x8000_0000), [0, 0x01_0002_0304]);
}

#[test]
fn what_cannot_be_started_is_no_cpu() {
    let cpus = [
        Node::new("cpu@0", 0),
        Node { status: Some("disabled"), ..Node::new("cpu@1", 1) },
        Node { status: Some("fail"), ..Node::new("cpu@2", 2) },
        Node { status: Some("okay"), ..Node::new("cpu@3", 3) },
        Node { method: Some("spin-table"), ..Node::new("cpu@4", 4) },
        Node { method: None, ..Node::new("cpu@5", 5) },
        Node::new("idle-states", 6),
        Node::new("cpu-map", 7),
        Node::new("cpu@8", 8),
        // The same again.
        Node::new("cpu@8", 8),
    ];
    assert_eq!(affinities(&tree(1, &cpus, psci), 0), [0, 3, 8]);
}

#[test]
fn without_firmware_the_cpu_that_boots_is_alone() {
    let tree = tree(1, &[Node::new("cpu@0", 0), Node::new("cpu@1", 1)], |_| {});
    assert_eq!(affinities(&tree, 0), [0]);
}

#[test]
fn one_cpu_needs_no_way_to_be_started() {
    let tree = tree(1, &[Node { method: None, ..Node::new("cpu@0", 0) }], psci);
    assert_eq!(affinities(&tree, 0), [0]);
    assert_eq!(affinities(b"no tree", 7), [7]);
}

#[test]
fn more_cpus_than_can_be_used_are_counted() {
    let cpus: Vec<_> = (0..20).map(|affinity| Node::new("cpu@", affinity)).collect();
    let found = Devices::read(&tree(1, &cpus, psci), Affinity::default()).cpus;
    assert_eq!(found.count(), 20);
    assert_eq!(found.affinity(15), Some(Affinity::new(15)));
    assert_eq!(found.affinity(16), None);
}

#[test]
fn redistributors_may_lie_in_several_regions() {
    let gic = |regions: Option<u32>| {
        tree(1, &[], |writer| {
            let node = writer.begin_node("intc@8000000").unwrap();
            writer.property_string("compatible", "arm,gic-v3").unwrap();
            if let Some(regions) = regions {
                writer.property_u32("#redistributor-regions", regions).unwrap();
            }
            let registers = [0x800_0000, 0x1_0000, 0x80a_0000, 0xf6_0000, 0x40_0000_0000, 0x400_0000];
            writer.property_array_u64("reg", &registers).unwrap();
            writer.end_node(node).unwrap();
        })
    };
    let controller = |tree: &[u8]| Devices::read(tree, Affinity::default()).controller.unwrap();
    let first = Registers { start: PhysAddr::new(0x80a_0000), bytes: 0xf6_0000 };
    let second = Registers { start: PhysAddr::new(0x40_0000_0000), bytes: 0x400_0000 };

    let two = controller(&gic(Some(2)));
    assert_eq!((two.cpu, two.more), (first, [Some(second), None, None]));
    // What follows is something else then: the virtual CPU interface.
    let one = controller(&gic(None));
    assert_eq!((one.cpu, one.more), (first, [None; MORE_REGIONS]));
}
