//! x86_64 machines: 16550 UART, local APIC, clock calibration, isa-debug-exit.
//!
//! [`Pc`] fits QEMU's `pc`, `q35` and `microvm` and what resembles them. Nothing here is found by tables: COM1, the
//! 8254 timer, the CMOS clock and the exit device lie where they have lain since the PC/AT, the local APIC where its
//! MSR says, and a device that is missing costs a bounded number of reads.
//!
//! ```text
//! note_start()        first Rust instructions   notes the TSC, starts the 8254's one-shot
//! Pc::init_console()  before anything can fail  COM1, 115200 8N1
//! Pc::init()          paging is there, IF = 0   8259s masked, local APIC on, first estimate of the TSC's frequency
//! Pc::interrupt()     each interrupt            end of interrupt; the timer's refine the estimate for about 50 ms
//! ```

#![cfg_attr(not(test), no_std)]

pub mod console;
mod cpus;
mod ipi;
pub mod irq;
mod madt;
pub mod power;
pub mod rtc;
mod start_cpu;
pub mod time;

pub use cpus::note_acpi_root;
#[doc(hidden)]
pub use ipi::send_unmaskable;
pub use platform::Pc;
pub use time::note_start;

mod platform {
    #![expect(unsafe_code, reason = "the contract with core is an unsafe trait")]

    use ebbtide_core::arch::PAGE_BYTES;
    use ebbtide_core::cpu::PerCpu;
    use ebbtide_core::memory::map_device;
    use ebbtide_core::platform::{Interrupt, Ipi, Platform};
    use ebbtide_core::{PhysAddr, System, VirtAddr};

    use crate::ipi::Message;
    use crate::{console, cpus, ipi, irq, power, start_cpu, time};

    /// An x86_64 machine with a local APIC: QEMU's `pc`, `q35` and `microvm`.
    #[derive(Clone, Copy, Debug)]
    pub struct Pc;

    // SAFETY: `irq::end` ends what the local APIC has in service; each module touches its device as that device's
    // manual asks, which its own comments name.
    unsafe impl Platform for Pc {
        fn init_console() {
            console::init();
        }

        fn write(bytes: &[u8]) {
            console::write(bytes);
        }

        fn init<S: System>() -> Result<(), &'static str> {
            irq::init(map_local_apic::<S>()?)?;
            cpus::find::<S>(irq::id());
            time::init()
        }

        fn cpus() -> u32 {
            cpus::count()
        }

        fn start_cpu<S: System>(cpu: &'static PerCpu, stack: VirtAddr) -> Result<(), &'static str> {
            start_cpu::start::<S>(cpu, cpus::apic_id(cpu.number), stack)
        }

        fn init_cpu<S: System>() -> Result<(), &'static str> {
            irq::init_cpu()?;
            time::init_cpu()
        }

        fn send_ipi(cpu: u32, ipi: Ipi) {
            ipi::send(cpus::apic_id(cpu), Message::Vector(ipi::vector(ipi)));
        }

        fn now() -> u64 {
            time::now()
        }

        fn arm_timer(deadline: Option<u64>) {
            time::arm_timer(deadline);
        }

        fn interrupt(vector: u32) -> Interrupt {
            irq::end(vector as u8)
        }

        fn exit(code: u8) -> ! {
            power::exit(code)
        }
    }

    /// Maps the local APIC's page and returns its virtual address; 0 in x2APIC mode, which has none.
    fn map_local_apic<S: System>() -> Result<u64, &'static str> {
        let Some(physical) = irq::xapic_page() else {
            return Ok(0);
        };
        // SAFETY: the APIC's MSR says that its registers lie there.
        let page = unsafe { map_device::<S>(PhysAddr::new(physical), PAGE_BYTES) };
        page.map(|page| page.as_u64()).map_err(|_| "there is no memory left to map the local APIC")
    }
}
