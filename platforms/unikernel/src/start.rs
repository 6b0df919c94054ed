//! From the loader's hand-over to the app's `main`.
#![expect(unsafe_code, reason = "takes the machine over, once")]

use ebbtide_core::boot::BootInfo;
use ebbtide_core::{Platform as _, report, start};
use ebbtide_hermit::RawBootInfo;

use crate::machine::{Platform, init_boot_cpu, note_boot, note_start};
use crate::system::{BOOT_CPU, Ebbtide};
use crate::{env, image, process};

ebbtide_hermit::entry!(boot);

unsafe extern "Rust" {
    /// The app's `main`, as [`main!`](crate::main) defines it: returns the exit code.
    safe fn __ebbtide_main() -> i32;
}

/// The first Rust function, on the boot stack, with interrupts off and the loader's page tables.
fn boot(raw: &'static RawBootInfo, cpu: u32) -> ! {
    note_start(raw);
    Platform::init_console();
    // SAFETY: the first thing on the boot CPU; the loader left the image writable.
    if let Err(lack) = unsafe { init_boot_cpu::<Ebbtide>(&BOOT_CPU) } {
        report::refuse::<Ebbtide>(lack);
    }
    let boot: &'static BootInfo = match ebbtide_hermit::boot_info(raw, cpu) {
        Ok(boot) => env::keep(boot),
        Err(error) => report::refuse::<Ebbtide>(error),
    };
    note_boot(boot);
    let stack = ebbtide_hermit::boot_stack();
    if !ebbtide_hermit::boot_stack_guard_is_untouched() {
        report::refuse::<Ebbtide>("the boot stack overflowed before it had a guard: this is a bug in Ebbtide");
    }
    let segments = image::segments();
    // SAFETY: this is the boot CPU on the boot stack, and nothing came before.
    unsafe { start::start::<Ebbtide>(boot, &segments, stack, main) }
}

/// What the main thread runs.
fn main() {
    process::exit(__ebbtide_main())
}
