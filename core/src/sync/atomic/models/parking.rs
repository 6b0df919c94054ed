//! One that parks for lack of a frame, and one that frees a frame: neither misses the other.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::order;

#[test]
fn who_parks_and_who_frees_do_not_miss_each_other() {
    explore(None, || {
        let (pool, parked, told) =
            (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let frees = {
            let (pool, parked, told) = (Arc::clone(&pool), Arc::clone(&parked), Arc::clone(&told));
            thread::spawn(move || {
                pool.store(1, Ordering::Relaxed);
                if order::is_waited_for_after_freeing(|| parked.load(Ordering::Relaxed) > 0) {
                    told.store(1, Ordering::Relaxed);
                }
            })
        };
        let mut found = false;
        order::park(|| parked.store(1, Ordering::Relaxed), || found = pool.load(Ordering::Relaxed) > 0);
        frees.join().unwrap();
        assert!(
            found || told.load(Ordering::Relaxed) > 0,
            "a frame is free, and nobody tells the thread that waits for it"
        );
    });
}
