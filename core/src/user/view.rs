//! The user's view: the second root table.
//!
//! It shares every table of the kernel's view but those on the path to the image, which lies in the lower half by itself. There
//! the image is mapped once more: text and what is only read are user mode's, but not the code of the entries and exits; what is
//! written is the kernel's as before.
#![expect(unsafe_code, reason = "decides what user mode sees")]

use core::sync::atomic::{AtomicBool, Ordering};

use memory_addresses::{PhysAddr, VirtAddr};

use crate::arch::{Access, Paging, UserMode};
use crate::memory::layout::{DIRECT_MAP, USER};
use crate::memory::space::Segments;
use crate::memory::table::{LEVELS, OutOfFrames, Tables, span};
use crate::system::System;

/// The level of the root table.
const TOP_LEVEL: u32 = LEVELS - 1;

/// Entries of the root table for the upper half.
const HALF_ENTRIES: u64 = 256;

/// Makes the view, if it has not been made.
///
/// # Errors
///
/// There are no frames for its tables. It is tried anew with the next thread; what was made of it is lost.
pub(super) fn make<S: System>() -> Result<(), OutOfFrames>
where
    S::Arch: UserMode,
{
    static MADE: AtomicBool = AtomicBool::new(false);
    if MADE.load(Ordering::Acquire) {
        return Ok(());
    }
    let segments = S::image();
    // The lock lets one make it.
    S::kernel().with_tables::<S, _>(|tables, new_table| {
        if !MADE.load(Ordering::Acquire) {
            build::<S>(tables, &segments, new_table)?;
            MADE.store(true, Ordering::Release);
        }
        Ok(())
    })
}

fn build<S: System>(
    kernel: Tables<S::Arch>,
    segments: &Segments,
    new_table: &mut dyn FnMut() -> Option<PhysAddr>,
) -> Result<(), OutOfFrames>
where
    S::Arch: UserMode,
{
    let window = S::kernel().window();
    let root = new_table().ok_or(OutOfFrames)?;
    // SAFETY: the frame is new.
    unsafe { window.clear(root) };
    // SAFETY: an empty root is a valid set of tables, and it lies in the window.
    let user = unsafe { Tables::<S::Arch>::new(root, window) };
    let entries = S::Arch::entry_code();
    let is_last = segments.iter().any(|segment| segment.range.end.as_u64() == entries.end.as_u64());
    assert!(is_last, "the linker put other code behind the entries");
    for segment in segments {
        let start = VirtAddr::new(segment.range.start.as_u64());
        let end = VirtAddr::new(segment.range.end.as_u64());
        let borders = [start, entries.start.clamp(start, end), entries.end.clamp(start, end), end];
        for (part, access) in borders.windows(2).zip([seen(segment.access), segment.access, seen(segment.access)]) {
            let (here, frame) = (part[0], PhysAddr::new(part[0].as_u64()));
            // SAFETY: these tables are not active yet.
            unsafe { user.map(here, frame, part[1] - part[0], access, 0, new_table) }?;
        }
    }
    // Everything else is shared: these tables are there, and are never taken away.
    let _ = kernel.find_or_make(VirtAddr::new(USER), TOP_LEVEL - 1, new_table)?;
    let upper_half = (0..HALF_ENTRIES).map(|entry| DIRECT_MAP + entry * span(TOP_LEVEL));
    for address in core::iter::once(USER).chain(upper_half).map(VirtAddr::new) {
        let from = kernel.find(address, TOP_LEVEL).ok_or(OutOfFrames)?;
        let to = user.find(address, TOP_LEVEL).ok_or(OutOfFrames)?;
        // SAFETY: an entry of a root table, which is there for good.
        let from = unsafe { from.as_ref() };
        // SAFETY: as above.
        let to = unsafe { to.as_ref() };
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    S::Arch::publish();
    // SAFETY: the first is the kernel's root, and the second maps all that the first does.
    unsafe { S::Arch::set_views(kernel.root(), root) };
    Ok(())
}

/// What user mode may do with a part of the image that the kernel uses in this way.
fn seen(access: Access) -> Access {
    match access {
        Access::ReadOnly => Access::UserReadOnly,
        Access::Execute => Access::UserExecute,
        other => other,
    }
}
