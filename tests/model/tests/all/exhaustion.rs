//! Too few frames for all threads: every run ends in progress, or in the verdict that there is a deadlock, where there is one.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use ebbtide_core::System;
use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::sync::Semaphore;
use ebbtide_core::thread::{Priority, sleep, yield_now};
use ebbtide_model::{Model, Plan, STACK_BYTES, deeper, done, work};

type S = Model;

/// Pages of the larger stacks.
const LARGE: u64 = 4;

/// Adds up explorations.
#[derive(Default)]
struct Sum {
    models: usize,
    states: usize,
    steps: usize,
    ends: BTreeMap<Option<u8>, usize>,
}

impl Sum {
    fn add<S: System>(&mut self, name: &str, plan: Plan) {
        match plan.explore::<S>() {
            Ok(explored) => {
                self.models += 1;
                self.states += explored.states;
                self.steps += explored.steps;
                for (ended, states) in explored.ends {
                    *self.ends.entry(ended.code).or_default() += states;
                }
            }
            Err(violation) => panic!("{name}: {violation}"),
        }
    }

    fn tell(&self, name: &str) {
        let Self { models, states, steps, ends } = self;
        println!("{name}: {models} models, {states} states, {steps} steps, ends by code: {ends:?}");
    }
}

/// Three threads, each of which goes down by so many pages and waits there for a permit, which it passes on when it is back
/// up; the last one brings the first permit.
pub(super) fn chain<S: System>(frames: usize, depths: [u64; 3], large: bool) -> Plan {
    let mut plan = Plan::new(1, frames).ticks(1);
    let permits: &'static Semaphore<S> = plan.share(Semaphore::new(0));
    let bytes = if large { LARGE * PAGE_BYTES } else { STACK_BYTES };
    for depth in depths {
        plan = plan.thread_of(0, bytes, Priority::NORMAL, move || {
            deeper(depth * PAGE_BYTES, || permits.acquire());
            done();
            permits.release();
        });
    }
    plan.thread(0, || permits.release()).judge(|ended| match ended.code {
        Some(103) => !ended.all_finished(),
        _ => ended.code == Some(101) && ended.all_finished() && ended.done == [1, 1, 1, 0],
    })
}

pub(super) fn every_run_ends_in_progress_or_in_a_verdict<S: System>() {
    let mut sum = Sum::default();
    for frames in 1..6 {
        for depths in all_depths([1, 2]) {
            sum.add::<S>(&format!("{frames} frames, {depths:?} pages deep"), chain::<S>(frames, depths, false));
        }
    }
    sum.tell("three of two pages and one that wakes them");
    assert!(sum.ends.contains_key(&Some(101)) && sum.ends.contains_key(&Some(103)), "{:?}", sum.ends);
}

#[test]
fn every_run_ends_in_progress_or_in_a_verdict_that_is_true() {
    every_run_ends_in_progress_or_in_a_verdict::<S>();
}

#[test]
fn larger_stacks_share_what_is_too_little_for_all() {
    let mut sum = Sum::default();
    for frames in 3..6 {
        for depths in all_depths([1, 3, LARGE]) {
            sum.add::<S>(&format!("{frames} frames, {depths:?} of 4 pages deep"), chain::<S>(frames, depths, true));
        }
    }
    sum.tell("three of four pages and one that wakes them");
}

/// One call of the frame allocator fails, whichever: what was tried is tried again, and whoever could go on does.
#[test]
fn any_frame_may_be_refused_once() {
    let mut sum = Sum::default();
    for call in (1..=16).filter_map(NonZeroU64::new) {
        for frames in 2..6 {
            let plan = chain::<S>(frames, [1, 2, 1], false).refuses(call);
            sum.add::<S>(&format!("{frames} frames, call {call} fails"), plan);
        }
    }
    sum.tell("three of two pages and one that wakes them, one call of the allocator refused");
}

/// Each of these numbers of pages for each thread.
fn all_depths<const N: usize>(pages: [u64; N]) -> impl Iterator<Item = [u64; 3]> {
    pages.into_iter().flat_map(move |a| pages.into_iter().flat_map(move |b| pages.into_iter().map(move |c| [a, b, c])))
}

/// Threads that sleep, work and give way, of different priorities, while a timer may come at any step.
#[test]
fn nobody_waits_for_ever_whatever_the_timer_does() {
    let mut sum = Sum::default();
    for frames in 1..4 {
        for urgent in [16, 17] {
            let priority = Priority::new(urgent).expect("a priority of an app's");
            let plan = Plan::new(1, frames)
                .ticks(2)
                .thread_of(0, STACK_BYTES, priority, || sleep::<S>(Duration::from_nanos(10)))
                .thread(0, || {
                    work();
                    yield_now::<S>();
                    work();
                })
                .thread(0, || deeper(2 * PAGE_BYTES, || sleep::<S>(Duration::from_nanos(20))));
            sum.add::<S>(&format!("{frames} frames, priority {urgent}"), plan);
        }
    }
    sum.tell("threads that sleep, work and give way");
}
