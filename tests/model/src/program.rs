//! What a thread of a model does.

use ebbtide_core::System;
use ebbtide_core::model;

use crate::world::{current, step};

/// Runs `f` with `bytes` more of the stack in use. What is in use keeps its frames, whatever happens meanwhile.
pub fn deeper<R>(bytes: u64, f: impl FnOnce() -> R) -> R {
    let depth = &current().books.threads[current().me()].depth;
    depth.set(depth.get() + bytes);
    let result = f();
    depth.set(depth.get() - bytes);
    result
}

/// Does something that others may see between its parts.
pub fn work() {
    step("works");
}

/// Makes the current or the next park of thread `number` return.
pub fn unpark<S: System>(number: usize) {
    step("unparks");
    model::handle::<S>(current().threads[number]).unpark();
}

/// Counts something that the run is judged by.
pub fn done() {
    let done = &current().books.threads[current().me()].done;
    done.set(done.get() + 1);
}
