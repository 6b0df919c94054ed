//! Pages that rest unless they were accessed: what the other modules explore, under the policy that asks, with walkers that note it.

use ebbtide_model::{Fill, Model};
use ebbtide_policy_accessed_bit::AccessedBit;

use super::exhaustion::every_run_ends_in_progress_or_in_a_verdict;
use super::rest::wanders;
use super::state::waits_for;
use super::{finds, well};

type S = Model<6, AccessedBit>;

/// Frames that are enough: a refill takes eight at once.
const PLENTY: usize = 10;

#[test]
fn a_thread_that_is_woken_while_it_is_left_goes_on_with_all_of_its_pages() {
    well::<S>("accessed, 2 CPUs, 1 waker", waits_for::<S>(2, 1));
}

/// A walker notes an access at any step: while the page is looked at, while it comes to rest, and when it is back.
#[test]
fn a_page_is_accessed_while_it_comes_to_rest() {
    well::<S>("accessed at any time, 1 sleep", wanders::<S>(PLENTY, 1).fill(Fill::AnyTime).idles_at_once());
    well::<S>("accessed, 2 sleeps", wanders::<S>(PLENTY, 2));
}

/// The model finds under this policy what it finds under the others.
#[test]
fn without_generations_there_is_a_hole() {
    type Without = Model<0, AccessedBit>;
    finds::<Without>("has left page 1 of thread 0", "accessed, no generations", wanders::<Without>(PLENTY, 2));
}

#[test]
fn who_keeps_what_it_has_accessed_gives_it_up_for_those_who_wait() {
    every_run_ends_in_progress_or_in_a_verdict::<S>();
}
