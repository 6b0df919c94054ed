//! A machine on which nothing can happen any more is told, not left to hang.

use core::fmt::Write;
use core::sync::atomic::Ordering;

use crate::console::Report;
use crate::report::{self, End};
use crate::system::System;

/// Ends the run if no thread is ready and none can become so: no timer is armed, and there is no device that could
/// bring news. Called by the idle thread with interrupts off.
pub(crate) fn check<S: System>() {
    let kernel = S::kernel();
    let waiting = kernel.timers.locked::<S, _>(|timers| timers.next().is_some());
    if waiting || kernel.cpus().any(|cpu| cpu.is_busy()) {
        return;
    }
    let threads = kernel.live_threads.load(Ordering::Relaxed);
    let _ = writeln!(
        Report::<S>::new(),
        "ebbtide: deadlock: all {threads} threads wait for each other, and no timer is armed that could wake one"
    );
    report::end::<S>(End::Panic)
}
