//! Too few frames for all threads, on two CPUs: each looks for what the other one has.

use std::collections::BTreeSet;
use std::time::Duration;

use ebbtide_core::arch::PAGE_BYTES;
use ebbtide_core::sync::Semaphore;
use ebbtide_core::thread::{Priority, park, park_timeout};
use ebbtide_model::{Model, Plan, deeper, done};

use super::well;

type S = Model;

/// Two threads on two CPUs, each of which goes down by so many pages and waits there for a permit, which it passes on; a third
/// one brings the first permit.
fn chain(frames: usize, depths: [u64; 2]) -> Plan {
    let mut plan = Plan::new(2, frames);
    let permits: &'static Semaphore<S> = plan.share(Semaphore::new(0));
    for (cpu, depth) in depths.into_iter().enumerate() {
        plan = plan.thread(cpu, move || {
            deeper(depth * PAGE_BYTES, || permits.acquire());
            done();
            permits.release();
        });
    }
    plan.thread(0, || permits.release()).judge(|ended| match ended.code {
        Some(103) => !ended.all_finished(),
        _ => ended.code == Some(101) && ended.all_finished() && ended.done == [1, 1, 0],
    })
}

#[test]
fn two_cpus_share_what_is_too_little_for_all() {
    let mut codes = BTreeSet::new();
    for frames in 0..2 {
        for depths in [[1, 1], [1, 2], [2, 1], [2, 2]] {
            let name = format!("{frames} frames, {depths:?} pages deep");
            let explored = well::<S>(&name, chain(frames, depths).idles_at_once());
            codes.extend(explored.ends.into_keys().map(|ended| (frames, ended.code)));
        }
    }
    assert!(codes.contains(&(0, Some(103))) && !codes.contains(&(0, Some(101))), "{codes:?}");
    assert!(codes.contains(&(1, Some(101))) && codes.contains(&(1, Some(103))), "{codes:?}");
}

/// Two threads with frames for one, or for none; in each step of what the CPUs tell each other.
#[test]
fn who_is_parked_is_not_forgotten_and_no_cpu_gives_up_too_soon() {
    for frames in 0..3 {
        let plan = Plan::new(2, frames)
            .between_cpus()
            .thread(0, || deeper(PAGE_BYTES, done))
            .thread(1, || deeper(PAGE_BYTES, done))
            .judge(move |ended| match frames {
                0 => ended.code == Some(103) && ended.done == [0, 0],
                _ => ended.code == Some(101) && ended.all_finished(),
            });
        well::<S>(&format!("{frames} frames, 2 threads"), plan);
    }
}

/// One that will never have its frames, and one that sleeps on the only other frame until its time is up, and then does `after`, on
/// another CPU. While the timer is armed the CPUs say that somebody waits. When it has gone off, the one that goes idle last says that
/// all is in vain: in each step of one that is at the last resort meanwhile, and of one that is sent away from it.
fn a_timer_at_the_last_resort(after: fn()) -> Plan {
    Plan::new(2, 1)
        .between_cpus_at_last_resort()
        .ticks(1)
        .thread_of(0, 4 * PAGE_BYTES, Priority::NORMAL, done)
        .thread(1, move || {
            deeper(2 * PAGE_BYTES, || {
                park_timeout::<S>(Duration::from_nanos(10));
                done();
                after();
            });
        })
        .judge(|ended| ended.code == Some(103) && ended.done == [0, 1])
}

/// The interrupt that brings work comes while the CPU is on its way to the last resort, and finds it taken.
#[test]
fn who_is_sent_away_from_the_last_resort_looks_at_what_came_meanwhile() {
    well::<S>("a timer at the last resort", a_timer_at_the_last_resort(|| ()));
}

/// It sleeps on, so no page is freed, for which the other CPU would be interrupted: nothing else makes that one look.
#[test]
fn who_was_at_the_last_resort_looks_for_those_who_were_sent_away() {
    well::<S>("a timer at the last resort, and no page freed", a_timer_at_the_last_resort(park::<S>));
}
