//! Stacks that are shrunk before they are left: what the other modules explore, under the policy that does so.

use ebbtide_model::Model;
use ebbtide_policy_reclaim_before_switch::ReclaimBeforeSwitch;

use super::exhaustion::every_run_ends_in_progress_or_in_a_verdict;
use super::rest::wanders;
use super::state::waits_for;
use super::{finds, well};

type S = Model<6, ReclaimBeforeSwitch>;

/// Frames that are enough: a refill takes eight at once.
const PLENTY: usize = 10;

#[test]
fn a_thread_that_is_woken_while_its_pages_rest_goes_on_only_when_it_was_left() {
    well::<S>("before, 2 CPUs, 1 waker", waits_for::<S>(2, 1));
    well::<S>("before, 2 CPUs, 2 wakers", waits_for::<S>(2, 2));
    well::<S>("before, 3 CPUs, 1 waker", waits_for::<S>(3, 1));
}

#[test]
fn a_page_goes_from_cpu_to_cpu_while_it_is_freed() {
    well::<S>("before, frames for all, 2 sleeps", wanders::<S>(PLENTY, 2));
    well::<S>("before, 2 frames, 1 sleep", wanders::<S>(2, 1).idles_at_once());
}

/// The model finds under this policy what it finds under the other one.
#[test]
fn without_generations_there_is_a_hole() {
    type Without = Model<0, ReclaimBeforeSwitch>;
    finds::<Without>("has left page 1 of thread 0", "before, no generations", wanders::<Without>(PLENTY, 2));
}

#[test]
fn a_stack_is_shrunk_only_where_there_is_a_switch() {
    every_run_ends_in_progress_or_in_a_verdict::<S>();
}
