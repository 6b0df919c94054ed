//! Where things lie in the kernel's half of the address space.
//!
//! ```text
//! 0000_0000_0000_0000  page 0: never mapped
//!                      the image, where the loader put it (virtual = physical)
//! 0000_4000_0000_0000  memory of threads that run in user mode: a window for each
//! ffff_8000_0000_0000  direct map: every frame of RAM but the image's read-only ones
//! ffff_9000_0000_0000  heap, grows upwards
//! ffff_a000_0000_0000  kernel stacks: one region of 64 GiB for each size class
//! ffff_b000_0000_0000  registers of devices
//! ```
//!
//! The upper half starts at the same address on x86_64 (48-bit canonical) and aarch64 (TTBR1 with T1SZ = 17).

use memory_addresses::{PhysAddr, VirtAddr};

/// Where physical address 0 lies in the direct map.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

/// First byte of the heap.
pub const HEAP: u64 = 0xffff_9000_0000_0000;

/// Room for the heap.
pub const HEAP_BYTES: u64 = 1 << 40;

/// First byte of the kernel stacks' range.
pub const STACKS: u64 = 0xffff_a000_0000_0000;

/// Room for one size class of kernel stacks.
pub const STACK_CLASS_BYTES: u64 = 64 << 30;

/// First byte of the devices' range.
pub const DEVICES: u64 = 0xffff_b000_0000_0000;

/// First byte of the memory of user mode.
pub const USER: u64 = 0x0000_4000_0000_0000;

/// Room for it: what one entry of the root table maps.
pub const USER_BYTES: u64 = 1 << 39;

/// Its end.
const USER_END: u64 = USER + USER_BYTES;

/// Says whether an address lies in the memory of user mode.
pub const fn is_user(address: VirtAddr) -> bool {
    address.as_usize() as u64 / USER_BYTES == USER / USER_BYTES
}

/// What lies at an address, for a report; nothing for the image and for what is never mapped.
pub(crate) const fn name(address: VirtAddr) -> Option<&'static str> {
    match address.as_usize() as u64 {
        DIRECT_MAP..HEAP => Some("the kernel's direct map"),
        HEAP..STACKS => Some("the kernel's heap"),
        STACKS..DEVICES => Some("kernel stacks"),
        DEVICES.. => Some("registers of devices"),
        USER..USER_END => Some("memory of user mode"),
        _ => None,
    }
}

/// Says whether user mode may go to an address: it lies in the lower half, and not in its last page, behind which there is no
/// address at all.
pub const fn may_begin_at(address: u64) -> bool {
    address < 0x0000_7fff_ffff_f000
}

/// Where `address` lies in the direct map.
pub const fn direct(address: PhysAddr) -> VirtAddr {
    VirtAddr::new(DIRECT_MAP + address.as_usize() as u64)
}
