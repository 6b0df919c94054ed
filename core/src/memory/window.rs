//! Where physical memory can be touched.
#![expect(unsafe_code, reason = "page tables are memory")]

use memory_addresses::{PhysAddr, VirtAddr};

use crate::memory::layout;

/// A stretch of virtual addresses in which physical memory lies in order.
///
/// The kernel has three in its life: the loader's identity map, the direct map, and, on the host, the RAM of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(VirtAddr);

impl Window {
    /// What a loader leaves: virtual equals physical.
    pub const IDENTITY: Self = Self(VirtAddr::new(0));

    /// The kernel's direct map.
    pub const DIRECT: Self = Self(VirtAddr::new(layout::DIRECT_MAP));

    /// Creates the window in which physical address 0 lies at `base`.
    pub const fn new(base: VirtAddr) -> Self {
        Self(base)
    }

    /// Where `address` lies in the window.
    pub const fn address(self, address: PhysAddr) -> VirtAddr {
        VirtAddr::new(self.0.as_usize() as u64 + address.as_usize() as u64)
    }

    /// A pointer to what lies at `address`. Using it is as safe as the window says.
    pub const fn pointer<T>(self, address: PhysAddr) -> *mut T {
        self.address(address).as_mut_ptr()
    }

    /// Fills the frame at `address` with zeros.
    ///
    /// # Safety
    ///
    /// The frame is mapped in this window and nobody else uses it.
    pub unsafe fn clear(self, address: PhysAddr) {
        // SAFETY: a frame is 512 words, and the caller owns it.
        unsafe { self.pointer::<u64>(address).write_bytes(0, 512) };
    }
}
