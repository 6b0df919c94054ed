//! In which order one that waits for frames and one that frees them look at each other's news, so that none is missed:
//! each writes, fences, and only then reads. Of two that meet, at least one sees the other.
//!
//! The order is all that matters here, so that a model can carry out the same code in every way in which the two can meet
//! (`sync::atomic::models::parking`).

use crate::sync::atomic::{Ordering, fence};

/// Parks: `enter` is seen by whoever frees later, and `look` sees what was freed before.
#[inline]
pub(crate) fn park(enter: impl FnOnce(), look: impl FnOnce()) {
    enter();
    fence(Ordering::SeqCst);
    look();
}

/// Says whether somebody waits, to one that has freed: `is_waited_for` sees who entered before.
#[inline]
pub(crate) fn is_waited_for_after_freeing(is_waited_for: impl FnOnce() -> bool) -> bool {
    fence(Ordering::SeqCst);
    is_waited_for()
}
