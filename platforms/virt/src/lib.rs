//! aarch64 machines: PL011, GIC, generic timer, PL031, PSCI, semihosting exit.
//!
//! `Virt` fits QEMU's `virt` and what resembles it. Where the devices are, and how the firmware is called, is read from
//! the device tree while it is still there; an address that nothing can be found at without the tree is nowhere in here.
//!
//! ```text
//! note_start()            first Rust instructions   time 0; copies what is needed out of the device tree
//! Virt::init_console()    before anything can fail  the PL011 where the loader mapped it
//! Virt::console_mapped()  the kernel's own tables   the PL011 where those map it
//! Virt::init()            memory is there           GICv2 or GICv3, the timer's interrupt, the clock's frequency
//! Virt::interrupt()       each interrupt            acknowledged and ended here: the CPU tells no vector
//! ```

//!
//! Starting a CPU:
//!
//! ```text
//! Virt::cpus()            the device tree's         those that PSCI can start; the one that boots is 0
//! Virt::start_cpu()       the CPU that boots        finds its redistributor, asks the firmware (PSCI CPU_ON)
//! Virt::init_cpu()        the new CPU               its part of the GIC, its timer
//! ```
//!
//! What is plain code, the reading of trees and the numbering of interrupts, builds and is tested on any host.

#![cfg_attr(target_os = "none", no_std)]

pub mod cpus;
pub mod devices;
pub mod sgi;

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod irq;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod rtc;
#[cfg(target_os = "none")]
pub mod time;

#[cfg(target_os = "none")]
mod found;
#[cfg(target_os = "none")]
mod redistributors;
#[cfg(target_os = "none")]
mod start_cpu;

#[cfg(target_os = "none")]
pub use platform::{Virt, note_start};

#[cfg(target_os = "none")]
mod platform {
    #![expect(unsafe_code, reason = "the contract with core is an unsafe trait")]

    use aarch64_cpu::registers::{MPIDR_EL1, Readable};
    use ebbtide_core::arch::Cpu;
    use ebbtide_core::cpu::PerCpu;
    use ebbtide_core::memory::map_device;
    use ebbtide_core::platform::{Interrupt, Ipi, Platform};
    use ebbtide_core::{PhysAddr, System, VirtAddr};

    use crate::cpus::Affinity;
    use crate::devices::{Controller, Devices, Kind, Registers};
    use crate::found::DEVICES;
    use crate::{console, irq, power, redistributors, rtc, start_cpu, time};

    /// Notes time 0 and what the device tree says. `tree` is one that the `fdt` crate can read, or none was given;
    /// `serial_port` is where the loader's page tables have the PL011. Called once, before anything else here.
    pub fn note_start(tree: Option<&[u8]>, serial_port: Option<u64>) {
        time::note_start();
        let this_cpu = Affinity::new(MPIDR_EL1.get());
        let devices = tree.map_or_else(|| Devices::new(this_cpu), |tree| Devices::read(tree, this_cpu));
        console::move_to(serial_port.unwrap_or(0));
        power::call_firmware_by(devices.conduit.unwrap_or_default());
        DEVICES.keep(devices);
    }

    /// An aarch64 machine with a GIC: QEMU's `virt`.
    #[derive(Clone, Copy, Debug)]
    pub struct Virt;

    // SAFETY: `irq::end` ends what it acknowledged; each module touches its device as that device's manual asks, which
    // its own comments name.
    unsafe impl Platform for Virt {
        fn init_console() {
            console::init();
        }

        fn console_registers() -> Option<PhysAddr> {
            DEVICES.get().console.map(|registers| registers.start)
        }

        fn console_mapped(address: VirtAddr) {
            console::move_to(address.as_u64());
        }

        fn write(bytes: &[u8]) {
            console::write(bytes);
        }

        fn init<S: System>() -> Result<(), &'static str> {
            let devices = DEVICES.get();
            let controller = devices.controller.ok_or(NO_CONTROLLER)?;
            let timer = devices.timer.ok_or("the device tree names no generic timer with a virtual one")?;
            time::init()?;
            let boot_cpu = devices.cpus.affinity(0).unwrap_or_default();
            irq::init(controller.kind, map::<S>(controller.distributor)?, timer)?;
            note_cpu::<S>(0, boot_cpu, &controller)?;
            irq::init_cpu(0)?;
            if let Some(clock) = devices.clock {
                rtc::found(map::<S>(clock)?);
            }
            Ok(())
        }

        fn cpus() -> u32 {
            u32::try_from(DEVICES.get().cpus.count()).unwrap_or(u32::MAX)
        }

        fn start_cpu<S: System>(cpu: &'static PerCpu, stack: VirtAddr) -> Result<(), &'static str> {
            let devices = DEVICES.get();
            let affinity = devices.cpus.affinity(cpu.number).ok_or("the device tree names no such CPU")?;
            let controller = devices.controller.ok_or(NO_CONTROLLER)?;
            note_cpu::<S>(cpu.number, affinity, &controller)?;
            start_cpu::start::<S>(cpu, affinity, stack, devices.conduit.unwrap_or_default())
        }

        fn init_cpu<S: System>() -> Result<(), &'static str> {
            time::disarm();
            irq::init_cpu(S::Arch::per_cpu().number)
        }

        fn send_ipi(cpu: u32, ipi: Ipi) {
            irq::send_ipi(cpu, ipi);
        }

        fn now() -> u64 {
            time::now()
        }

        fn arm_timer(deadline: Option<u64>) {
            time::arm_timer(deadline);
        }

        fn interrupt(_vector: u32) -> Interrupt {
            irq::end()
        }

        fn exit(code: u8) -> ! {
            power::exit(code)
        }
    }

    const NO_CONTROLLER: &str =
        "the device tree names no interrupt controller that is known: a GICv2 or GICv3 is needed";

    /// Maps what the interrupt controller has for a CPU, and notes it.
    fn note_cpu<S: System>(number: u32, affinity: Affinity, controller: &Controller) -> Result<(), &'static str> {
        let registers = match controller.kind {
            Kind::V2 => map::<S>(controller.cpu)?,
            Kind::V3 => redistributors::find(controller, affinity, map::<S>)?,
        };
        irq::note_cpu(controller.kind, number, affinity, registers)
    }

    /// Maps a device and returns where.
    fn map<S: System>(registers: Registers) -> Result<u64, &'static str> {
        // SAFETY: the device tree says that its registers lie there.
        let mapped = unsafe { map_device::<S>(registers.start, registers.bytes) };
        mapped.map(VirtAddr::as_u64).map_err(|_| "there is no memory left to map a device")
    }
}
