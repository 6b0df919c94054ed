//! At which instructions of a system call's entry and exit something came in that nothing masks.

use core::slice::from_raw_parts;
use core::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::System;

use crate::user::system_call;

/// Bytes of code that are looked at: more than there are.
const MOST_BYTES: usize = 256;

/// The last instruction.
const SYSRETQ: [u8; 3] = [0x48, 0x0f, 0x07];

/// A bit for each byte of the code.
static SEEN: [AtomicU64; MOST_BYTES / 64] = [const { AtomicU64::new(0) }; MOST_BYTES / 64];

/// NMIs that were handled.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Counts an NMI, behind all else that its handler does: whoever waits for that sends the next one to a CPU that is about to go on.
pub(crate) fn count_unmaskable<S: System>() {
    if S::AUDIT {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notes that an NMI came before the instruction at `rip`. Returns whether that is one of those that are looked at.
pub(crate) fn note_unmaskable<S: System>(rip: u64) -> bool {
    if !S::AUDIT {
        return false;
    }
    let code = code();
    let offset = rip.wrapping_sub(code.as_ptr().addr() as u64) as usize;
    let is_there = offset < code.len().min(MOST_BYTES);
    if is_there {
        SEEN[offset / 64].fetch_or(1 << (offset % 64), Ordering::Relaxed);
    }
    is_there
}

/// From the first instruction to the end of the last.
pub(super) fn code() -> &'static [u8] {
    let start = system_call as *const u8;
    // SAFETY: the code of a function, up to the instruction that ends it.
    let byte = |at: usize| unsafe { start.wrapping_add(at).read() };
    let mut bytes = SYSRETQ.len();
    while [byte(bytes - 3), byte(bytes - 2), byte(bytes - 1)] != SYSRETQ {
        bytes += 1;
    }
    // SAFETY: as above; nobody writes it.
    unsafe { from_raw_parts(start, bytes) }
}

pub(super) fn unmaskable_interrupts() -> u64 {
    HANDLED.load(Ordering::Relaxed)
}

pub(super) fn was_interrupted_at(offset: usize) -> bool {
    SEEN.get(offset / 64).is_some_and(|seen| seen.load(Ordering::Relaxed) >> (offset % 64) & 1 == 1)
}
