//! In which order the cases of one stage run: those that fill the same folder take turns, and a guest waits for the build of its image.

use std::collections::HashMap;

use super::case::Case;
use crate::parallel::Item;

/// What each case has to wait for, where they run side by side.
pub fn of(cases: &[&Case]) -> Vec<Item> {
    let places: HashMap<_, _> = cases.iter().enumerate().map(|(place, case)| (case.name.as_str(), place)).collect();
    let item = |case: &&Case| Item {
        // A build that is not among them was not asked for: the guest makes it itself.
        after: case.after.as_deref().and_then(|name| places.get(name).copied()),
        has: case.fills,
        load: case.load,
    };
    cases.iter().map(item).collect()
}
