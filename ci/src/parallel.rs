//! Work side by side, for the verbs that boot many guests.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

/// What an item has to wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item {
    /// The one that has to be done before.
    pub after: Option<usize>,
    /// Of all that take turns, one is worked on at a time.
    pub takes_turns: bool,
}

/// Does `work` for every item, by its index, up to `jobs` at a time: always the first one that has to wait for nothing. Returns the
/// answers in the items' order.
pub fn in_order<R: Send>(jobs: usize, items: &[Item], work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let board = Board { items, places: Mutex::new(vec![Place::Waits; items.len()]), changed: Condvar::new() };
    let answers: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some(taken) = board.take() {
                    let answer = work(taken.index);
                    answers.lock().expect("no worker panicked")[taken.index] = Some(answer);
                }
            });
        }
    });
    let answers = answers.into_inner().expect("no worker panicked");
    answers.into_iter().flatten().collect()
}

/// Where an item is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Waits,
    IsWorkedOn,
    IsDone,
}

/// Where all items are.
struct Board<'a> {
    items: &'a [Item],
    places: Mutex<Vec<Place>>,
    changed: Condvar,
}

impl Board<'_> {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().expect("no worker panicked")
    }

    /// Takes the first item that has to wait for nothing; waits if there is none yet.
    fn take(&self) -> Option<Taken<'_>> {
        let mut places = self.places();
        loop {
            let is_turn_taken =
                places.iter().zip(self.items).any(|(place, item)| item.takes_turns && *place == Place::IsWorkedOn);
            let may_start = |index: &usize| {
                let Item { after, takes_turns } = self.items[*index];
                places[*index] == Place::Waits
                    && after.is_none_or(|after| places[after] == Place::IsDone)
                    && !(takes_turns && is_turn_taken)
            };
            if let Some(index) = (0..self.items.len()).find(may_start) {
                places[index] = Place::IsWorkedOn;
                return Some(Taken { board: self, index });
            }
            if !places.contains(&Place::Waits) {
                return None;
            }
            places = self.changed.wait(places).expect("no worker panicked");
        }
    }
}

/// An item that is worked on. It is done when this goes, however that comes: nobody waits for a worker that panicked.
struct Taken<'a> {
    board: &'a Board<'a>,
    index: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.board.places()[self.index] = Place::IsDone;
        self.board.changed.notify_all();
    }
}

/// How many guests run side by side unless told otherwise: one per CPU, at most two.
pub fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(2))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Item, in_order};

    #[test]
    fn answers_come_in_order() {
        let free = [Item::default(); 50];
        assert_eq!(in_order(4, &free, |index| index * 2), (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!(in_order(0, &free[..1], |index| index), [0]);
        assert!(in_order(3, &[], |index| index).is_empty());
    }

    #[test]
    fn an_item_waits_for_another_and_for_its_turn() {
        // Some that take turns, and behind them some that wait for one of them each.
        let turns = 5;
        let items: Vec<_> = (0..4 * turns)
            .map(|index| Item { after: (index >= turns).then_some(index % turns), takes_turns: index < turns })
            .collect();
        let (done, at_once) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let answers = in_order(3, &items, |index| {
            if items[index].takes_turns {
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "two take their turn at once");
                std::thread::yield_now();
                at_once.fetch_sub(1, Ordering::SeqCst);
            }
            let before = items[index].after.is_none_or(|after| done.lock().unwrap().contains(&after));
            assert!(before, "{index} began too early");
            done.lock().unwrap().push(index);
            index
        });
        assert_eq!(answers, (0..4 * turns).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn nobody_waits_for_a_worker_that_panicked() {
        let items = [Item::default(), Item { after: Some(0), takes_turns: false }];
        in_order(2, &items, |index| assert!(index > 0, "the first one fails"));
    }
}
