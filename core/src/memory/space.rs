//! The kernel's address space: built once at boot, W^X from then on.
//!
//! Two steps, because nothing is known of the loader's tables but that they map the image: first a few tables in
//! `.bss` (image and one GiB of RAM, [`Access::Boot`]), which take the loader's place; then, with frames at hand, the
//! final ones. The first ones become free frames.
#![expect(unsafe_code, reason = "changes what addresses mean")]

use core::ops::Range;

use align_address::Align;
use heapless::Vec;
use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{Access, PAGE_BYTES, Paging};
use crate::audit::faults;
use crate::boot::{BootInfo, MemoryRegion};
use crate::kernel::Kernel;
use crate::memory::FrameAllocator;
use crate::memory::layout::DEVICES;
use crate::memory::table::{OutOfFrames, Tables, span};
use crate::memory::window::Window;
use crate::platform::Platform;
use crate::system::System;

/// Most segments that an image may have.
pub const MAX_SEGMENTS: usize = 12;

/// A part of the image with one kind of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its addresses, whole pages; virtual equals physical.
    pub range: Range<PhysAddr>,
    /// How it may be used.
    pub access: Access,
}

/// The image's parts, as its program headers name them.
pub type Segments = Vec<Segment, MAX_SEGMENTS>;

/// The first tables: root, two levels for the image (which may cross a border), two for the window, three for the
/// console's registers.
const BOOT_TABLES: usize = 10;

#[repr(C, align(4096))]
struct BootTables([[u64; 512]; BOOT_TABLES]);

/// Builds the kernel's address space and fills the frame allocator.
///
/// # Errors
///
/// There is too little memory.
///
/// # Safety
///
/// Called once, on the boot CPU, with the loader's tables still active; `boot` and `segments` are true.
pub(crate) unsafe fn init<S: System>(boot: &BootInfo, segments: &Segments) -> Result<(), OutOfFrames> {
    let first_gib = boot.image.start.align_down(span(2));
    let near = MemoryRegion { start: first_gib, end: PhysAddr::new(first_gib.as_u64() + span(2)) };
    let pool = take_boot_tables();
    // SAFETY: the pool is this function's, and the loader maps the image by identity.
    unsafe { activate_boot_tables::<S>(boot, near, pool) }?;

    let kernel = S::kernel();
    let image = MemoryRegion { start: boot.image.start, end: boot.image.end.align_up(PAGE_BYTES) };
    kernel.frames.with::<S, _>(|frames| {
        frames.set_window(kernel.window());
        // SAFETY: the loader is out of use now: its tables are inactive and what it told was copied.
        unsafe { add_clipped(frames, boot, image, near) };
        let root = frames.allocate().ok_or(OutOfFrames)?;
        // SAFETY: `near` is mapped in the direct map, and the frame is new.
        unsafe { Window::DIRECT.clear(root) };
        // SAFETY: an empty root is a valid set of tables.
        let tables = unsafe { Tables::<S::Arch>::new(root, Window::DIRECT) };
        let mut new_table = || {
            kernel.accounts.tables.add(1);
            frames.allocate()
        };
        // SAFETY: these tables are not active yet.
        unsafe { map_image(tables, segments, &mut new_table) }?;
        for region in &boot.memory {
            // SAFETY: as above.
            unsafe { map_ram(tables, region, segments, image, &mut new_table) }?;
        }
        map_console::<S>(tables, &mut new_table)?;
        // SAFETY: image, RAM and so the stack in use are mapped where they were.
        unsafe { S::Arch::activate(root) };
        kernel.accounts.tables.add(1);
        kernel.set_root(root);
        // SAFETY: now all RAM is in the direct map; `near` has been added.
        unsafe { add_rest(frames, boot, image, near) };
        for table in 0..BOOT_TABLES as u64 {
            // SAFETY: the boot tables are inactive and lie in writable pages of the image, which are mapped.
            unsafe { frames.adopt(PhysAddr::new(pool.as_u64() + table * PAGE_BYTES)) };
        }
        Ok(())
    })
}

/// Maps `bytes` of device registers at `address` and returns where they are.
///
/// # Errors
///
/// There is no frame for a table.
///
/// # Safety
///
/// The physical range holds registers of a device and nothing else.
pub unsafe fn map_device<S: System>(address: PhysAddr, bytes: u64) -> Result<VirtAddr, OutOfFrames> {
    let kernel = S::kernel();
    let start = address.align_down(PAGE_BYTES);
    let page = VirtAddr::new(DEVICES + start.as_u64());
    let bytes = (address.as_u64() - start.as_u64() + bytes).next_multiple_of(PAGE_BYTES);
    kernel.with_tables::<S, _>(|tables, new_table| {
        // SAFETY: the range is the device's own, and the caller vouches for what is mapped.
        unsafe { tables.map(page, start, bytes, Access::Device, 0, new_table) }
    })?;
    Ok(VirtAddr::new(DEVICES + address.as_u64()))
}

impl Kernel {
    /// Runs `f` on the kernel's tables, with frames for new ones.
    pub(crate) fn with_tables<S: System, R>(
        &self,
        f: impl FnOnce(Tables<S::Arch>, &mut dyn FnMut() -> Option<PhysAddr>) -> R,
    ) -> R {
        self.table_lock.with::<S, _>(|()| {
            f(self.tables::<S>(), &mut || {
                let table =
                    self.frames.with::<S, _>(|frames| faults::spare::<S, _>(frames, FrameAllocator::allocate))?;
                self.accounts.tables.add(1);
                Some(table)
            })
        })
    }

    /// The kernel's tables, to read.
    pub(crate) fn tables<S: System>(&self) -> Tables<S::Arch> {
        // SAFETY: the root was made in `init`, lies in the direct map and is never freed.
        unsafe { Tables::new(self.root(), self.window()) }
    }
}

/// The pool of the first tables; its addresses are physical ones as well.
fn take_boot_tables() -> PhysAddr {
    static mut POOL: BootTables = BootTables([[0; 512]; BOOT_TABLES]);
    PhysAddr::new((&raw mut POOL) as u64)
}

/// Takes the loader's tables out of use: image and one GiB of RAM, everything allowed.
///
/// # Safety
///
/// As [`init`]; the pool is zero and nobody else's.
unsafe fn activate_boot_tables<S: System>(
    boot: &BootInfo,
    near: MemoryRegion,
    pool: PhysAddr,
) -> Result<(), OutOfFrames> {
    let mut used = 1;
    let new_table = &mut || {
        let table = (used < BOOT_TABLES as u64).then(|| PhysAddr::new(pool.as_u64() + used * PAGE_BYTES));
        used += 1;
        table
    };
    // SAFETY: the pool is zero and mapped by identity.
    let tables = unsafe { Tables::<S::Arch>::new(pool, Window::IDENTITY) };
    let start = boot.image.start.align_down(span(1));
    let bytes = (boot.image.end - start).next_multiple_of(span(1));
    let here = VirtAddr::new(start.as_u64());
    // SAFETY: the tables are not active yet.
    unsafe { tables.map(here, start, bytes, Access::Boot, 1, new_table) }?;
    for region in boot.memory.iter().map(|region| clipped(region, near)).filter(|region| region.start < region.end) {
        // In large pages, but no more than that of what is no memory: a CPU may read ahead in it.
        let start = region.start.align_down(span(1));
        let bytes = region.end.align_up(span(1)) - start;
        // SAFETY: as above; two regions in one large page make the same entry.
        unsafe { tables.map(Window::DIRECT.address(start), start, bytes, Access::ReadWrite, 1, new_table) }?;
    }
    map_console::<S>(tables, new_table)?;
    // SAFETY: the image, and with it code and boot stack, is mapped where it was.
    unsafe { S::Arch::activate(pool) };
    if let Some(page) = S::Platform::console_registers() {
        S::Platform::console_mapped(VirtAddr::new(DEVICES + page.as_u64()));
    }
    Ok(())
}

/// Maps the console's registers, if they lie in memory, where [`map_device`] would.
fn map_console<S: System>(
    tables: Tables<S::Arch>,
    new_table: &mut dyn FnMut() -> Option<PhysAddr>,
) -> Result<(), OutOfFrames> {
    let Some(page) = S::Platform::console_registers() else { return Ok(()) };
    let page = page.align_down(PAGE_BYTES);
    let here = VirtAddr::new(DEVICES + page.as_u64());
    // SAFETY: a device's registers, by the machine's word; the tables are not active yet.
    unsafe { tables.map(here, page, PAGE_BYTES, Access::Device, 0, new_table) }
}

/// What of a region lies in `near`; it ends before it begins if nothing does.
fn clipped(region: &MemoryRegion, near: MemoryRegion) -> MemoryRegion {
    MemoryRegion { start: region.start.max(near.start), end: region.end.min(near.end) }
}

/// Maps the image where it lies, each segment with its own access.
///
/// # Safety
///
/// The tables are not active yet.
unsafe fn map_image<P: Paging>(
    tables: Tables<P>,
    segments: &Segments,
    new_table: &mut dyn FnMut() -> Option<PhysAddr>,
) -> Result<(), OutOfFrames> {
    for segment in segments {
        let Range { start, end } = segment.range.clone();
        let here = VirtAddr::new(start.as_u64());
        // SAFETY: the segment's own addresses, with the access that its program header asks for.
        unsafe { tables.map(here, start, end - start, segment.access, 0, new_table) }?;
    }
    Ok(())
}

/// Maps a region in the direct map: large pages where nothing else lies in them, else small ones, and none for what
/// the image must not have written.
///
/// # Safety
///
/// The tables are not active yet.
unsafe fn map_ram<P: Paging>(
    tables: Tables<P>,
    region: &MemoryRegion,
    segments: &Segments,
    image: MemoryRegion,
    new_table: &mut dyn FnMut() -> Option<PhysAddr>,
) -> Result<(), OutOfFrames> {
    let end = region.end.align_down(PAGE_BYTES);
    let mut at = region.start.align_up(PAGE_BYTES);
    while at < end {
        let next = PhysAddr::new((at.as_u64() + 1).next_multiple_of(span(1))).min(end);
        let whole = next - at == span(1);
        let level = u32::from(whole && (next <= image.start || image.end <= at));
        if level == 1 || next <= image.start || image.end <= at {
            let here = Window::DIRECT.address(at);
            // SAFETY: RAM in the direct map, readable and writable, outside of the image.
            unsafe { tables.map(here, at, next - at, Access::ReadWrite, level, new_table) }?;
        } else {
            while at < next {
                let border = next_border(at, segments, image).map_or(next, |border| border.min(next));
                if is_written(at, segments, image) {
                    let here = Window::DIRECT.address(at);
                    // SAFETY: RAM that is writable already, or no part of the image.
                    unsafe { tables.map(here, at, border - at, Access::ReadWrite, 0, new_table) }?;
                }
                at = border;
            }
        }
        at = next;
    }
    Ok(())
}

/// Where the image or a segment of it begins or ends next behind `page`: whole pages, which are used alike up to there.
fn next_border(page: PhysAddr, segments: &Segments, image: MemoryRegion) -> Option<PhysAddr> {
    let borders = segments.iter().flat_map(|segment| [segment.range.start, segment.range.end]);
    borders.chain([image.start, image.end]).filter(|border| *border > page).min()
}

/// Says whether a page may be written through the direct map.
fn is_written(page: PhysAddr, segments: &Segments, image: MemoryRegion) -> bool {
    let outside = page < image.start || image.end <= page;
    outside || segments.iter().any(|s| s.access == Access::ReadWrite && s.range.contains(&page))
}

/// Adds the RAM that the first tables map.
///
/// # Safety
///
/// The direct map of `near` is active, and nothing in the RAM is in use but the image.
unsafe fn add_clipped(frames: &mut FrameAllocator, boot: &BootInfo, image: MemoryRegion, near: MemoryRegion) {
    for region in &boot.memory {
        let clipped = clipped(region, near);
        if clipped.start < clipped.end {
            // SAFETY: RAM without the image, by the caller's word.
            let noted = unsafe { frames.add(clipped, &[image]) };
            assert!(noted, "the allocator notes as many ranges as a memory map and the image can make");
        }
    }
}

/// Adds the RAM that only the final tables map.
///
/// # Safety
///
/// As [`add_clipped`], with the direct map of all RAM active.
unsafe fn add_rest(frames: &mut FrameAllocator, boot: &BootInfo, image: MemoryRegion, near: MemoryRegion) {
    for region in &boot.memory {
        // SAFETY: RAM without the image and without what was added before.
        let noted = unsafe { frames.add(*region, &[image, near]) };
        assert!(noted, "the allocator notes as many ranges as a memory map and the image can make");
    }
}
