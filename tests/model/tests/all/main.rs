//! Explorations. Each prints how many states it has.

mod accessed;
mod deferred;
mod departure;
mod entry;
mod exhaustion;
mod faults;
mod parking;
mod placement;
mod rest;
mod state;

use ebbtide_core::System;
use ebbtide_model::{Explored, Plan};

/// Explores a model in which nothing is wrong.
#[track_caller]
fn well<S: System>(name: &str, plan: Plan) -> Explored {
    match plan.explore::<S>() {
        Ok(explored) => {
            println!("{name}: {explored}");
            explored
        }
        Err(violation) => panic!("{name}: {violation}"),
    }
}

/// Explores a model in which something is wrong on purpose, and prints the way there.
#[track_caller]
fn finds<S: System>(what: &str, name: &str, plan: Plan) {
    match plan.explore::<S>() {
        Ok(explored) => panic!("{name}: \"{what}\" was not found in {explored}"),
        Err(violation) => {
            println!("{name}: {violation}");
            assert!(violation.what.contains(what), "wanted \"{what}\"");
        }
    }
}
