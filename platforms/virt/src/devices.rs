//! What the device tree says of the devices that are driven here.
//!
//! The tree lies in memory that the kernel gives away soon, so what is needed is copied, in one walk over it: a walk costs
//! some 50,000 instructions. Bindings: Linux's `Documentation/devicetree/bindings`, which the comments name.

use ebbtide_core::PhysAddr;
use fdt::Fdt;
use fdt::node::FdtNode;

use crate::cpus::{Affinity, Cpus};

/// Where a device's registers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// First byte.
    pub start: PhysAddr,
    /// How many.
    pub bytes: u64,
}

/// An interrupt controller that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GICv2: the CPU's part is a page of registers.
    V2,
    /// GICv3: the CPU's part is system registers, and a redistributor to each CPU.
    V3,
}

/// The interrupt controller.
#[derive(Clone, Copy, Debug)]
pub struct Controller {
    /// Which.
    pub kind: Kind,
    /// The distributor.
    pub distributor: Registers,
    /// The CPU interface, or the first region of redistributors.
    pub cpu: Registers,
    /// Further regions of redistributors.
    pub more: [Option<Registers>; MORE_REGIONS],
}

/// Most regions of redistributors that are used but for the first.
pub const MORE_REGIONS: usize = 3;

/// How the firmware is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduit {
    /// By a hypervisor call.
    #[default]
    Hvc,
    /// By a secure monitor call.
    Smc,
}

/// All that was found.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// The PL011.
    pub console: Option<Registers>,
    /// The GIC.
    pub controller: Option<Controller>,
    /// The number of the virtual timer's interrupt, as the GIC has it.
    pub timer: Option<u32>,
    /// The PL031.
    pub clock: Option<Registers>,
    /// What PSCI wants, if there is one.
    pub conduit: Option<Conduit>,
    /// The CPUs that can be started, and the one that boots.
    pub cpus: Cpus,
}

/// The timers of `arm,arch_timer`, in this order: secure, physical, virtual, hypervisor.
const VIRTUAL_TIMER: usize = 2;

/// An interrupt in `arm,gic`: kind, number, flags; the kinds; where the kinds' numbers start in the GIC's own.
const INTERRUPT_WORDS: usize = 3;
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const FIRST_SHARED: u32 = 32;
const FIRST_PRIVATE: u32 = 16;

impl Devices {
    /// What is known without a tree, on the CPU that boots.
    pub fn new(boot: Affinity) -> Self {
        Self { console: None, controller: None, timer: None, clock: None, conduit: None, cpus: Cpus::new(boot) }
    }

    /// Reads a tree that the `fdt` crate can read; one that it cannot has no devices.
    pub fn read(tree: &[u8], boot: Affinity) -> Self {
        let mut devices = Self::new(boot);
        let Ok(tree) = Fdt::new(tree) else {
            return devices;
        };
        for node in tree.find_node("/").into_iter().flat_map(FdtNode::children) {
            devices.note(&node);
        }
        if devices.conduit.is_none() {
            devices.cpus.keep_boot_cpu();
        }
        devices
    }

    fn note(&mut self, node: &FdtNode<'_, '_>) {
        if node.name == "cpus" {
            node.children().filter_map(|node| startable(&node)).for_each(|affinity| self.cpus.add(affinity));
            return;
        }
        let Some(compatible) = node.compatible() else {
            return;
        };
        for name in compatible.all() {
            match name {
                "arm,pl011" if is_enabled(node) => self.console = registers(node, 0),
                "arm,pl031" => self.clock = registers(node, 0),
                "arm,cortex-a15-gic" | "arm,gic-400" => self.controller = controller(node, Kind::V2),
                "arm,gic-v3" => self.controller = controller(node, Kind::V3),
                "arm,armv8-timer" => self.timer = interrupt(node, VIRTUAL_TIMER),
                "arm,psci" | "arm,psci-0.2" | "arm,psci-1.0" => self.conduit = Some(conduit(node)),
                _ => {}
            }
        }
    }
}

/// Says whether a device is ours: with `secure=on`, `virt` has a second PL011 that is not.
fn is_enabled(node: &FdtNode<'_, '_>) -> bool {
    node.property("status").is_none_or(|status| matches!(status.as_str(), Some("okay" | "ok")))
}

fn registers(node: &FdtNode<'_, '_>, at: usize) -> Option<Registers> {
    let region = node.reg()?.nth(at)?;
    let start = PhysAddr::try_new(region.starting_address.addr() as u64).ok()?;
    Some(Registers { start, bytes: region.size? as u64 })
}

fn controller(node: &FdtNode<'_, '_>, kind: Kind) -> Option<Controller> {
    let (distributor, cpu) = (registers(node, 0)?, registers(node, 1)?);
    let mut more = [None; MORE_REGIONS];
    if kind == Kind::V3 {
        let regions = cell(node, "#redistributor-regions").unwrap_or(1) as usize;
        let places = more.iter_mut().zip(2..1 + regions);
        places.for_each(|(region, at)| *region = registers(node, at));
    }
    Some(Controller { kind, distributor, cpu, more })
}

/// The affinity of a CPU that PSCI can start (`arm/cpus.yaml`): 32 bits in a tree that has no level 3, 64 in others.
fn startable(node: &FdtNode<'_, '_>) -> Option<Affinity> {
    if !node.name.starts_with("cpu@") || node.property("enable-method")?.as_str() != Some("psci") || !is_enabled(node) {
        return None;
    }
    let affinity = node.reg()?.next()?.starting_address.addr() as u64;
    Some(Affinity::new(affinity))
}

fn cell(node: &FdtNode<'_, '_>, name: &str) -> Option<u32> {
    node.property(name)?.value.try_into().ok().map(u32::from_be_bytes)
}

fn interrupt(node: &FdtNode<'_, '_>, at: usize) -> Option<u32> {
    let (words, _) = node.property("interrupts")?.value.as_chunks::<4>();
    let entry = words.get(at * INTERRUPT_WORDS..)?;
    let [kind, number] = [u32::from_be_bytes(*entry.first()?), u32::from_be_bytes(*entry.get(1)?)];
    match kind {
        PRIVATE => Some(FIRST_PRIVATE + number),
        SHARED => Some(FIRST_SHARED + number),
        _ => None,
    }
}

fn conduit(node: &FdtNode<'_, '_>) -> Conduit {
    match node.property("method").and_then(|method| method.as_str()) {
        Some("smc") => Conduit::Smc,
        _ => Conduit::Hvc,
    }
}

#[cfg(test)]
mod tests;
