//! What a thread of a model does.

use ebbtide_core::System;
use ebbtide_core::model;

use crate::world::{current, step};

/// Runs `f` with `bytes` more of the stack in use. What is in use keeps its frames, whatever happens meanwhile.
pub fn deeper<R>(bytes: u64, f: impl FnOnce() -> R) -> R {
    let me = current().me();
    current().touch(me, current().books.threads[me].depth.get() + bytes);
    let depth = &current().books.threads[me].depth;
    depth.set(depth.get() + bytes);
    let result = f();
    depth.set(depth.get() - bytes);
    result
}

/// Does something that others may see between its parts.
pub fn work() {
    step("works");
}

/// Goes to user mode, does `f` there, and comes back.
pub fn in_user_mode<S: System>(f: impl FnOnce()) {
    let me = current().me();
    let is_in_user_mode = &current().books.threads[me].is_in_user_mode;
    is_in_user_mode.set(true);
    model::leave_kernel::<S>(current().stack_pointer_of(me));
    f();
    model::enter_kernel::<S>();
    is_in_user_mode.set(false);
    current().check_switch_in(me);
}

/// Sweeps the stack of thread `number`, if it sleeps.
pub fn sweep<S: System>(number: usize) {
    step("sweeps");
    model::sweep::<S>(&[current().threads[number]], true);
}

/// Does for ever what the reclaimer does, to thread `number` alone; `then`, whenever that took pages of it.
pub fn reclaim<S: System>(number: usize, then: impl Fn()) -> ! {
    loop {
        model::reclaim::<S>(&[current().threads[number]], |swept| {
            step("has swept");
            if swept > 0 {
                then();
            }
        });
    }
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
