//! Finds a place for the kernel in the guest's memory.

use core::fmt;
use core::ops::Range;

/// What the loader's own tables map: nothing is loaded above it.
const REACHABLE_END: u64 = 1 << 32;

/// Below lie firmware tables, start-up code for other CPUs and the loader itself.
const LOWEST: u64 = 1 << 20;

/// A page that one entry of a kernel's tables maps, then the smallest one; in bytes.
const ALIGNMENTS: [u64; 2] = [2 << 20, 4 << 10];

/// Smallest page: the memory map is cut to multiples of it, in bytes.
const PAGE_BYTES: u64 = 4 << 10;

/// There is no place for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// No free stretch of memory is large enough.
    TooLittle {
        /// What the kernel takes, in bytes.
        needed: u64,
        /// All usable memory of the guest, in bytes.
        total: u64,
    },
    /// A kernel that must lie at its own address cannot: the memory ends before.
    Beyond {
        /// Where the kernel must lie, in physical addresses.
        range: Range<u64>,
        /// All usable memory of the guest, in bytes.
        total: u64,
    },
    /// A kernel that must lie at its own address cannot: something else is there, or nothing.
    Taken {
        /// Where the kernel must lie, in physical addresses.
        range: Range<u64>,
    },
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittle { needed, total } => write!(
                f,
                "too little memory: the kernel needs {} KiB in one piece below 4 GiB, and the guest has {} KiB in all",
                needed.div_ceil(1024),
                total / 1024
            ),
            Self::Beyond { range, total } => write!(
                f,
                "too little memory: the kernel must lie at {:#x} to {:#x}, and the guest's {} KiB end before; give it 8 MiB or more",
                range.start,
                range.end,
                total / 1024
            ),
            Self::Taken { range } => write!(
                f,
                "the kernel must lie at {:#x} to {:#x}, where there is no free memory; link it elsewhere, or position-independent",
                range.start, range.end
            ),
        }
    }
}

/// Cuts a stretch of memory to whole pages; [`None`] if none is left.
#[must_use]
pub fn whole_pages(start: u64, length: u64) -> Option<Range<u64>> {
    let start_page = start.checked_next_multiple_of(PAGE_BYTES)?;
    let end = start.saturating_add(length);
    let end_page = end - end % PAGE_BYTES;
    (start_page < end_page).then_some(start_page..end_page)
}

/// Chooses where the kernel goes: above the loader (which ends at `occupied_end`), on a large page's start if it can.
///
/// # Errors
///
/// [`NoPlace`], with what the kernel needs.
pub fn place(
    memory: &[Range<u64>],
    occupied_end: u64,
    needed: u64,
    fixed_start: Option<u64>,
) -> Result<Range<u64>, NoPlace> {
    let lowest = occupied_end.max(LOWEST);
    if let Some(start) = fixed_start {
        let range = start..start.saturating_add(needed);
        if memory.iter().all(|region| region.end < range.end) {
            return Err(NoPlace::Beyond { range, total: total(memory) });
        }
        let free = range.start >= lowest && usable(memory, &range);
        return if free { Ok(range) } else { Err(NoPlace::Taken { range }) };
    }
    let fitting = |align: u64| {
        memory.iter().find_map(|region| {
            let start = region.start.max(lowest).checked_next_multiple_of(align)?;
            let range = start..start.checked_add(needed)?;
            (range.end <= region.end.min(REACHABLE_END)).then_some(range)
        })
    };
    ALIGNMENTS.into_iter().find_map(fitting).ok_or(NoPlace::TooLittle { needed, total: total(memory) })
}

/// All usable memory, in bytes.
fn total(memory: &[Range<u64>]) -> u64 {
    memory.iter().map(|region| region.end - region.start).sum()
}

/// Tells whether all of `range` is memory that can be used and reached.
#[must_use]
pub fn usable(memory: &[Range<u64>], range: &Range<u64>) -> bool {
    let within = |region: &Range<u64>| region.start <= range.start && range.end <= region.end;
    range.end <= REACHABLE_END && memory.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_large_page_is_preferred_and_a_small_one_will_do() {
        let memory = [0..640 << 10, MIB..8 * MIB];
        assert_eq!(place(&memory, MIB + 5, MIB, None), Ok(2 * MIB..3 * MIB));
        assert_eq!(place(&memory, 2 * MIB + 5, 5 * MIB, None), Ok(2 * MIB + 4096..7 * MIB + 4096));
        assert_eq!(
            place(&memory, 2 * MIB, 7 * MIB, None),
            Err(NoPlace::TooLittle { needed: 7 * MIB, total: 7 * MIB + (640 << 10) })
        );
    }

    #[test]
    fn what_cannot_be_reached_is_not_used() {
        let memory = [MIB..2 * MIB, (1 << 32)..(1 << 34)];
        assert!(place(&memory, MIB, MIB + 1, None).is_err());
    }

    #[test]
    fn a_fixed_kernel_lies_at_its_address_or_nowhere() {
        let memory = &[0..MIB / 2, MIB..8 * MIB];
        assert_eq!(place(memory, MIB + 5, MIB, Some(4 * MIB)), Ok(4 * MIB..5 * MIB));
        let range = MIB..2 * MIB;
        assert_eq!(place(memory, MIB + 5, MIB, Some(MIB)), Err(NoPlace::Taken { range }));
        for start in [7 * MIB + 4096, 9 * MIB, u64::MAX - 4095] {
            let refused = place(memory, MIB + 5, MIB, Some(start));
            assert!(matches!(refused, Err(NoPlace::Beyond { total, .. }) if total == 7 * MIB + MIB / 2), "{start:#x}");
        }
    }

    #[test]
    fn regions_are_cut_to_pages() {
        assert_eq!(whole_pages(1, 8192), Some(4096..8192));
        assert_eq!(whole_pages(1, 4096), None);
        assert_eq!(whole_pages(u64::MAX - 5, 100), None);
    }
}
