//! The state word: threads that block while others wake them, on two and three CPUs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ebbtide_core::System;
use ebbtide_core::sync::Semaphore;
use ebbtide_core::thread::{park, park_timeout, yield_now};
use ebbtide_model::{Model, Plan, unpark};

use super::well;

/// Frames that are enough for every CPU's first refill.
const PLENTY: usize = 24;

type S = Model;

/// Thread 0 waits for `wakers`, each on a CPU of its own.
pub(super) fn waits_for<S: System>(cpus: usize, wakers: usize) -> Plan {
    let mut plan = Plan::new(cpus, PLENTY);
    let came: &'static AtomicU64 = plan.share(AtomicU64::new(0));
    plan = plan.thread(0, move || {
        while came.load(Ordering::Relaxed) < wakers as u64 {
            park::<S>();
        }
    });
    for waker in 0..wakers {
        plan = plan.thread((waker + 1) % cpus, move || {
            came.fetch_add(1, Ordering::Relaxed);
            unpark::<S>(0);
        });
    }
    plan
}

#[test]
fn of_two_wakers_none_gets_lost() {
    well::<S>("2 CPUs, 1 waker", waits_for::<S>(2, 1));
    well::<S>("2 CPUs, 2 wakers", waits_for::<S>(2, 2));
}

#[test]
fn a_waker_finds_one_of_two_idle_cpus() {
    well::<S>("3 CPUs, 1 waker", waits_for::<S>(3, 1));
}

/// Two threads wake each other, each on its own CPU or where the other one is.
#[test]
fn two_that_wake_each_other_do_not_miss_each_other() {
    let plan = Plan::new(2, PLENTY)
        .thread(0, || {
            unpark::<S>(1);
            park::<S>();
        })
        .thread(1, || {
            unpark::<S>(0);
            park::<S>();
        });
    well::<S>("2 that wake each other", plan);
}

/// A timer and a thread both want to wake it.
#[test]
fn a_timer_and_a_waker_wake_it_once() {
    let plan = Plan::new(2, PLENTY)
        .ticks(1)
        .thread(0, || park_timeout::<S>(Duration::from_nanos(10)))
        .thread(1, || unpark::<S>(0));
    well::<S>("a timer and a waker", plan);
}

/// Two wait for two permits that come one by one, from the other CPU.
#[test]
fn of_two_permits_each_goes_to_one() {
    let mut plan = Plan::new(2, PLENTY);
    let permits: &'static Semaphore<S> = plan.share(Semaphore::new(0));
    let plan = plan.thread(0, || permits.acquire()).thread(0, || permits.acquire()).thread(1, || {
        permits.release();
        yield_now::<S>();
        permits.release();
    });
    well::<S>("2 permits", plan);
}
