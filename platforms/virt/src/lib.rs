//! aarch64 machines: PL011, GIC, generic timer, PL031, PSCI, semihosting exit.
//!
//! [`Virt`] fits QEMU's `virt` and what resembles it. Where the devices are, and how the firmware is called, is read from
//! the device tree while it is still there; an address that nothing can be found at without the tree is nowhere in here.
//!
//! ```text
//! note_start()            first Rust instructions   time 0; copies what is needed out of the device tree
//! Virt::init_console()    before anything can fail  the PL011 where the loader mapped it
//! Virt::console_mapped()  the kernel's own tables   the PL011 where those map it
//! Virt::init()            memory is there           GICv2 or GICv3, the timer's interrupt, the clock's frequency
//! Virt::interrupt()       each interrupt            acknowledged and ended here: the CPU tells no vector
//! ```

#![no_std]

pub mod console;
pub mod irq;
pub mod power;
pub mod rtc;
pub mod time;

mod devices;

pub use platform::{Virt, note_start};

mod platform {
    #![expect(unsafe_code, reason = "the contract with core is an unsafe trait")]

    use ebbtide_core::memory::map_device;
    use ebbtide_core::platform::{Interrupt, Platform};
    use ebbtide_core::{PhysAddr, System, VirtAddr};

    use crate::devices::{DEVICES, Devices, Registers};
    use crate::{console, irq, power, rtc, time};

    /// Notes time 0 and what the device tree says. `tree` is one that the `fdt` crate can read, or none was given;
    /// `serial_port` is where the loader's page tables have the PL011. Called once, before anything else here.
    pub fn note_start(tree: Option<&[u8]>, serial_port: Option<u64>) {
        time::note_start();
        let devices = tree.map(Devices::read).unwrap_or_default();
        console::move_to(serial_port.unwrap_or(0));
        power::call_firmware_by(devices.conduit);
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
            let controller = devices
                .controller
                .ok_or("the device tree names no interrupt controller that is known: a GICv2 or GICv3 is needed")?;
            let timer = devices.timer.ok_or("the device tree names no generic timer with a virtual one")?;
            time::init()?;
            let distributor = map::<S>(controller.distributor)?;
            irq::init(controller.kind, distributor, map::<S>(controller.cpu)?, timer)?;
            if let Some(clock) = devices.clock {
                rtc::found(map::<S>(clock)?);
            }
            Ok(())
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

    /// Maps a device and returns where.
    fn map<S: System>(registers: Registers) -> Result<u64, &'static str> {
        // SAFETY: the device tree says that its registers lie there.
        let mapped = unsafe { map_device::<S>(registers.start, registers.bytes) };
        mapped.map(VirtAddr::as_u64).map_err(|_| "there is no memory left to map a device")
    }
}
