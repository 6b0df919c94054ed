//! What the device tree says of the devices that are driven here.
//!
//! The tree lies in memory that the kernel gives away soon, so what is needed is copied, in one walk over it: a walk costs
//! some 50,000 instructions. Bindings: Linux's `Documentation/devicetree/bindings`, which the comments name.
#![expect(unsafe_code, reason = "one static is written once, before it is shared")]

use core::cell::UnsafeCell;

use ebbtide_core::PhysAddr;
use fdt::Fdt;
use fdt::node::FdtNode;

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
    /// The CPU interface, or the redistributor of the CPU that boots.
    pub cpu: Registers,
}

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
#[derive(Clone, Copy, Debug, Default)]
pub struct Devices {
    /// The PL011.
    pub console: Option<Registers>,
    /// The GIC.
    pub controller: Option<Controller>,
    /// The number of the virtual timer's interrupt, as the GIC has it.
    pub timer: Option<u32>,
    /// The PL031.
    pub clock: Option<Registers>,
    /// What PSCI wants.
    pub conduit: Conduit,
}

/// Bytes of the two frames that a GICv3 has for each CPU: redistributor, and its private interrupts.
const REDISTRIBUTOR_BYTES: u64 = 128 << 10;

/// The timers of `arm,arch_timer`, in this order: secure, physical, virtual, hypervisor.
const VIRTUAL_TIMER: usize = 2;

/// An interrupt in `arm,gic`: kind, number, flags; the kinds; where the kinds' numbers start in the GIC's own.
const INTERRUPT_WORDS: usize = 3;
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const FIRST_SHARED: u32 = 32;
const FIRST_PRIVATE: u32 = 16;

impl Devices {
    /// Reads a tree that the `fdt` crate can read; one that it cannot has no devices.
    pub fn read(tree: &[u8]) -> Self {
        let mut devices = Self::default();
        let Ok(tree) = Fdt::new(tree) else {
            return devices;
        };
        for node in tree.find_node("/").into_iter().flat_map(FdtNode::children) {
            devices.note(&node);
        }
        devices
    }

    fn note(&mut self, node: &FdtNode<'_, '_>) {
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
                "arm,psci" | "arm,psci-0.2" | "arm,psci-1.0" => self.conduit = conduit(node),
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
    let mut cpu = registers(node, 1)?;
    if kind == Kind::V3 {
        cpu.bytes = cpu.bytes.min(REDISTRIBUTOR_BYTES);
    }
    Some(Controller { kind, distributor: registers(node, 0)?, cpu })
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

/// What was found at boot.
pub static DEVICES: Kept = Kept(UnsafeCell::new(None));

/// [`Devices`] that are written once, by the CPU that boots, before there is another CPU or an interrupt.
pub struct Kept(UnsafeCell<Option<Devices>>);

// SAFETY: written once, before anything reads it or can interrupt the write.
unsafe impl Sync for Kept {}

impl Kept {
    /// Keeps what was found. Called once, first.
    pub(crate) fn keep(&self, devices: Devices) {
        // SAFETY: nobody has a reference: `get` copies.
        unsafe { self.0.get().write(Some(devices)) };
    }

    /// Returns what was found: nothing before [`keep`](Self::keep).
    pub(crate) fn get(&self) -> Devices {
        // SAFETY: it is not written to any more.
        unsafe { self.0.get().read() }.unwrap_or_default()
    }
}
