//! The start of other CPUs: INIT, then start-up interrupts (Intel SDM volume 3, 9.4.4).
//!
//! Each CPU starts in a page of its own below 640 KiB, which is taken from the frame allocator for good: a CPU may come late,
//! and read there what it was given. What stands there, and why no table ever maps it to be executed,
//! [`ebbtide_arch_x86_64::secondary`] says.
//!
//! The manual's 10 ms after INIT are for APICs outside of the CPU. Those with 64 bits need none, as Linux has it
//! (`arch/x86/kernel/smpboot.c`), and a second start-up interrupt only if the first was not taken: it is sent after 200 µs to a
//! CPU that has not shown itself.
#![expect(unsafe_code, reason = "another CPU begins to run")]

use core::hint::spin_loop;

use ebbtide_arch_x86_64::secondary;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::{PhysAddr, System, VirtAddr};

use crate::ipi::{self, Message};
use crate::time;

/// Where memory ends that a start-up interrupt can name: from here on its numbers are reserved.
const LOW_MEMORY_END: u64 = 0xa_0000;

/// Between INIT and the first start-up interrupt, in nanoseconds.
const AFTER_INIT_NS: u64 = 10_000;

/// How long a CPU may take to show itself until it is sent another start-up interrupt, in nanoseconds.
const AFTER_START_UP_NS: u64 = 200_000;

/// Starts a CPU, which comes up on the stack below `stack`.
///
/// # Errors
///
/// Why it cannot be started.
pub(crate) fn start<S: System>(cpu: &'static PerCpu, apic_id: u32, stack: VirtAddr) -> Result<(), &'static str> {
    if !ipi::reaches(apic_id) {
        return Err("its APIC identifier is above 254, and the CPUs have no x2APIC (`--cpu max`)");
    }
    let page = S::kernel()
        .frames
        .with::<S, _>(|frames| frames.withdraw_below(PhysAddr::new(LOW_MEMORY_END)))
        .ok_or("there is no free memory below 640 KiB, where it would start")?;
    // SAFETY: the frame is nobody's from now on, and core starts CPUs that are prepared.
    unsafe { secondary::prepare::<S>(cpu, stack, page) }?;
    time::note_cpu_start();
    ipi::send(apic_id, Message::Init);
    wait(AFTER_INIT_NS, || false);
    let start_up = Message::StartUp((page.as_u64() >> 12) as u8);
    ipi::send(apic_id, start_up);
    if !wait(AFTER_START_UP_NS, || secondary::has_come(cpu)) {
        ipi::send(apic_id, start_up);
    }
    Ok(())
}

/// Waits, but no longer than until `done`, which is returned.
fn wait(nanos: u64, done: impl Fn() -> bool) -> bool {
    let end = time::now() + nanos;
    while !done() {
        if time::now() >= end {
            return false;
        }
        spin_loop();
    }
    true
}
