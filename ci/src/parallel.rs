//! Work side by side, for the verbs that boot many guests.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` for every item, up to `jobs` at a time, and returns the answers in the items' order.
pub fn map<T: Sync, R: Send>(jobs: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, item)) = take(&next, items) {
                    let answer = work(item);
                    answers.lock().expect("no worker panicked")[index] = Some(answer);
                }
            });
        }
    });
    let answers = answers.into_inner().expect("no worker panicked");
    answers.into_iter().flatten().collect()
}

/// Takes the next item, if there is one.
fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

/// How many guests run side by side unless told otherwise: one per CPU, at most two.
pub fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(2))
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn answers_come_in_order() {
        let items: Vec<u32> = (0..50).collect();
        assert_eq!(map(4, &items, |item| item * 2), (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!(map(0, &[1], |item| *item), [1]);
        assert!(map(3, &[], |item: &u32| *item).is_empty());
    }
}
