//! The loader's heap: a small static arena, enough for a command line and a device tree.

#![expect(unsafe_code, reason = "a global allocator and its lock are unsafe to implement")]

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};

use talc::TalcLock;
use talc::lock_api::{GuardSend, RawMutex};
use talc::source::Claim;

/// A command line and a device tree of the greatest length, with what growing them in steps leaves behind; in bytes.
const ARENA_BYTES: usize = 96 << 10;

struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: nothing but the allocator touches the arena, and the allocator has a lock.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));

#[global_allocator]
// SAFETY: the arena is valid for ever, and given to this allocator alone.
static HEAP: TalcLock<OneCpuLock, Claim> = TalcLock::new(unsafe { Claim::array(ARENA.0.get()) });

/// A lock for one CPU without interrupts: it is never waited for, unless the loader has a bug.
struct OneCpuLock(AtomicBool);

// SAFETY: only one of those that ask gets `true` from `try_lock` until `unlock`.
unsafe impl RawMutex for OneCpuLock {
    const INIT: Self = Self(AtomicBool::new(false));

    type GuardMarker = GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            spin_loop();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}
