//! The images that a comparison boots: each built once, and kept until its last run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::plan::Job;
use crate::build::Image;
use crate::parallel::Item;

/// What an image of one architecture is built from.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The policy.
    pub policy: String,
    /// An example's name or a folder of the repository.
    pub package: String,
    /// Whether with the feature `audit`.
    pub audit: bool,
}

/// The images of one architecture's runs.
pub struct Images {
    keys: Vec<Key>,
    built: Mutex<BTreeMap<Key, Built>>,
}

/// An image, or why there is none; and how many runs are still to boot it.
struct Built {
    image: Option<Result<Image, String>>,
    runs: usize,
}

impl Images {
    /// The images that these runs boot; none is built yet.
    pub fn of(jobs: &[Job<'_>]) -> Self {
        let (mut keys, mut built) = (Vec::new(), BTreeMap::new());
        for key in jobs.iter().flat_map(|job| &job.images) {
            let place = built.entry(key.clone()).or_insert_with(|| {
                keys.push(key.clone());
                Built { image: None, runs: 0 }
            });
            place.runs += 1;
        }
        Self { keys, built: Mutex::new(built) }
    }

    /// What they are built from, in the order in which they are first booted.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The builds, in turn, and behind them the runs, each of which waits for its images.
    pub fn order(&self, jobs: &[Job<'_>]) -> Vec<Item> {
        let place = |key: &Key| self.keys.iter().position(|other| other == key);
        let builds = self.keys.iter().map(|_| Item { has: Some("build"), ..Item::default() });
        // Builds take turns in their order: with the last of a run's images all of them are there.
        let after = |job: &Job<'_>| job.images.iter().filter_map(place).max();
        let runs = jobs.iter().map(|job| Item { after: after(job), ..Item::default() });
        builds.chain(runs).collect()
    }

    /// Keeps what came of a build.
    pub fn put(&self, key: &Key, image: Result<Image, String>) {
        let mut built = self.built.lock().expect("no worker panicked");
        built.get_mut(key).expect("it is one of the keys").image = Some(image);
    }

    /// The images of a run, which has them once. The files of an image go with the last run that does.
    pub fn take(&self, job: &Job<'_>) -> Vec<Result<Image, String>> {
        let mut built = self.built.lock().expect("no worker panicked");
        let mut take = |key: &Key| {
            let place = built.get_mut(key).expect("no run has its images twice");
            place.runs -= 1;
            let image = place.image.clone().expect("a run waits for its images");
            if place.runs == 0 {
                built.remove(key);
            }
            image
        };
        job.images.iter().map(&mut take).collect()
    }
}
