//! Work side by side, for the verbs that boot many guests.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

/// What keeps one of the host's CPUs busy, in the unit of loads: what is half asleep is half of it.
pub const CPU: usize = 2;

/// What an item has to wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item {
    /// The one that has to be done before.
    pub after: Option<usize>,
    /// What it has to itself meanwhile, by name: of all that name the same, one is worked on at a time.
    pub has: Option<&'static str>,
    /// How much of the host it keeps busy, see [`CPU`].
    pub load: usize,
}

/// How much is worked on at a time.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// How many items, at least one.
    jobs: usize,
    /// How much they may keep busy together; one that is more than that by itself is worked on alone.
    load: usize,
}

impl Room {
    /// For so many items, whatever they keep busy.
    pub fn of(jobs: usize) -> Self {
        Self { jobs, load: usize::MAX }
    }

    /// For so many guests as were asked for, or as the host has room for.
    pub fn for_guests(jobs: Option<u8>) -> Self {
        jobs.map_or_else(Self::of_host, |jobs| Self::of(jobs.into()))
    }

    /// For as much as keeps the host busy, of which eight CPUs at most: each guest takes memory, too.
    fn of_host() -> Self {
        let load = CPU * host().min(8);
        Self { jobs: load, load }
    }
}

/// How many CPUs the host has.
pub fn host() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` for every item, by its index, as many at a time as there is room for: always the first one that has to wait for
/// nothing. Returns the answers in the items' order.
pub fn in_order<R: Send>(room: Room, items: &[Item], work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let (places, changed) = (Mutex::new(vec![Place::Waits; items.len()]), Condvar::new());
    let board = Board { items, load: room.load, places, changed };
    let answers: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..room.jobs.clamp(1, items.len().max(1)) {
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
    /// How much of a load there is room for.
    load: usize,
    places: Mutex<Vec<Place>>,
    changed: Condvar,
}

impl Board<'_> {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().expect("no worker panicked")
    }

    /// The first item that has to wait for nothing, where all items are at `places`.
    fn first(&self, places: &[Place]) -> Option<usize> {
        let worked_on = || places.iter().zip(self.items).filter(|(place, _)| **place == Place::IsWorkedOn);
        let is_taken = |name| worked_on().any(|(_, item)| item.has == Some(name));
        let (is_idle, busy) = (worked_on().next().is_none(), worked_on().map(|(_, item)| item.load).sum::<usize>());
        (0..self.items.len()).find(|index| {
            let Item { after, has, load } = self.items[*index];
            places[*index] == Place::Waits
                && after.is_none_or(|after| places[after] == Place::IsDone)
                && !has.is_some_and(is_taken)
                && (is_idle || busy + load <= self.load)
        })
    }

    /// Takes the first item that has to wait for nothing; waits if there is none yet.
    fn take(&self) -> Option<Taken<'_>> {
        let mut places = self.places();
        loop {
            if let Some(index) = self.first(&places) {
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

/// How many runs of a comparison there are side by side: one per CPU, at most two.
pub fn default_jobs() -> usize {
    host().min(2)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::{Board, Item, Place, Room, in_order};

    #[test]
    fn answers_come_in_order() {
        let free = [Item::default(); 50];
        assert_eq!(in_order(Room::of(4), &free, |index| index * 2), (0..100).step_by(2).collect::<Vec<_>>());
        assert_eq!(in_order(Room::of(0), &free[..1], |index| index), [0]);
        assert!(in_order(Room::of(3), &[], |index| index).is_empty());
    }

    #[test]
    fn an_item_waits_for_another_and_for_its_turn() {
        // Some that take turns at one of two things, and behind them some that wait for one of them each.
        let turns = 6;
        let has = |index| (index < turns).then_some(["left", "right"][index % 2]);
        let items: Vec<_> = (0..4 * turns)
            .map(|index| Item { after: (index >= turns).then_some(index % turns), has: has(index), load: 0 })
            .collect();
        let (done, at_once) = (Mutex::new(Vec::new()), [AtomicUsize::new(0), AtomicUsize::new(0)]);
        let answers = in_order(Room::of(3), &items, |index| {
            if items[index].has.is_some() {
                assert_eq!(at_once[index % 2].fetch_add(1, Ordering::SeqCst), 0, "two have the same at once");
                std::thread::yield_now();
                at_once[index % 2].fetch_sub(1, Ordering::SeqCst);
            }
            let before = items[index].after.is_none_or(|after| done.lock().unwrap().contains(&after));
            assert!(before, "{index} began too early");
            done.lock().unwrap().push(index);
            index
        });
        assert_eq!(answers, (0..4 * turns).collect::<Vec<_>>());
    }

    /// The first of `items` that has to wait for nothing, with so much room, where they are at `places`, by letters: who waits, who is
    /// worked on, who is done.
    fn first_of(items: &[Item], load: usize, places: &str) -> Option<usize> {
        let place = |letter| match letter {
            'w' => Place::Waits,
            'o' => Place::IsWorkedOn,
            _ => Place::IsDone,
        };
        let board = Board { items, load, places: Mutex::default(), changed: Condvar::new() };
        board.first(&places.chars().map(place).collect::<Vec<_>>())
    }

    #[test]
    fn what_another_one_has_is_waited_for() {
        let items = [Some("left"), Some("left"), Some("right"), None].map(|has| Item { has, ..Item::default() });
        let first = |places: &str| first_of(&items, 1, places);
        assert_eq!(first("wwww"), Some(0));
        assert_eq!(first("owww"), Some(2), "what another one has is no hindrance");
        assert_eq!(first("owow"), Some(3));
        assert_eq!(first("owoo"), None);
        assert_eq!(first("dwoo"), Some(1));
    }

    #[test]
    fn a_load_that_there_is_no_room_for_waits() {
        // That of 5 is more than there is room for, and is worked on nevertheless: alone.
        let items = [1, 3, 5, 2, 2].map(|load| Item { load, ..Item::default() });
        let first = |places: &str| first_of(&items, 4, places);
        assert_eq!(first("wwwww"), Some(0));
        assert_eq!(first("owwww"), Some(1), "1 and 3 are 4");
        assert_eq!(first("oowww"), None);
        assert_eq!(first("dowww"), None);
        assert_eq!(first("odwww"), Some(3), "the next that fits, and not the next");
        assert_eq!(first("ddwww"), Some(2), "nothing else is worked on");
        assert_eq!(first("ddoww"), None, "nothing is worked on beside it");
        assert_eq!(first("dddow"), Some(4));
        assert_eq!(first("ddddd"), None);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn nobody_waits_for_a_worker_that_panicked() {
        let items = [Item::default(), Item { after: Some(0), ..Item::default() }];
        in_order(Room::of(2), &items, |index| assert!(index > 0, "the first one fails"));
    }
}
