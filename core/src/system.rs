//! The one place where the choices meet: architecture, machine, policy.

use crate::arch::Arch;
use crate::kernel::Kernel;
use crate::memory::heap::Heap;
use crate::memory::space::Segments;
use crate::platform::Platform;
use crate::stack::StackPolicy;

/// A system is a choice of types; the composition root (`platforms/unikernel`) makes it.
///
/// Functions of core are generic over it, so that every call of a policy or an architecture is direct and a policy
/// that does nothing costs nothing.
pub trait System: Sized + 'static {
    /// The architecture.
    type Arch: Arch;
    /// The machine.
    type Platform: Platform;
    /// The stack policy.
    type Policy: StackPolicy;

    /// Whether this build checks its invariants while it runs; see [`audit`](crate::audit).
    const AUDIT: bool = false;

    /// Whether this build measures what a thread uses of its kernel stack where it has a part of it alone: in user mode, and on its
    /// way into a switch. It writes to the unused part of that.
    const PAINTS_STACKS: bool = false;

    /// The state of the kernel: a static of the composition root, since statics cannot be generic.
    fn kernel() -> &'static Kernel;

    /// The parts of the image. An image without any has no threads in user mode.
    fn image() -> Segments {
        Segments::new()
    }

    /// The heap, if it is one that the kernel grew: a static of the composition root too.
    fn heap() -> Option<&'static Heap<Self>> {
        None
    }

    /// Stands before what another CPU may see or change, in the protocols between CPUs. Nothing happens here, but in a model
    /// that lets other CPUs come in.
    #[inline(always)]
    fn interleave() {}
}
