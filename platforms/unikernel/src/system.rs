//! The composition root: which architecture, machine and policy make this system, and its statics.

use ebbtide_core::System;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::kernel::Kernel;
use ebbtide_core::memory::heap::Heap;
use ebbtide_core::memory::space::Segments;
use ebbtide_core::user;

use crate::image;

/// The system that this image is.
///
/// It is named in types that are compared and copied: hence the traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ebbtide;

static KERNEL: Kernel = Kernel::new();

/// The boot CPU's data.
pub(crate) static BOOT_CPU: PerCpu = PerCpu::new(0);

#[global_allocator]
static HEAP: Heap<Ebbtide> = Heap::new();

impl System for Ebbtide {
    type Arch = crate::machine::Arch;
    type Platform = crate::machine::Platform;
    type Policy = crate::policy::Policy;

    const AUDIT: bool = cfg!(feature = "audit");
    const PAINTS_STACKS: bool = cfg!(any(feature = "audit", debug_assertions));

    fn kernel() -> &'static Kernel {
        &KERNEL
    }

    fn image() -> Segments {
        image::segments()
    }

    fn heap() -> Option<&'static Heap<Self>> {
        Some(&HEAP)
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if user::is_user_mode::<Ebbtide>() {
        user::runtime::panic::<Ebbtide>(info);
    }
    ebbtide_core::report::panic::<Ebbtide>(info)
}
