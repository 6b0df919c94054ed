//! How deep threads were seen on their stacks: at switches and in traps, each thread once, whether it lives or has ended.

use ebbtide_core::audit::{self, Depths};
use ebbtide_core::thread::{Builder, park, yield_now};
use ebbtide_machine::{Host, Plan, deeper, settle, sleep, work};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;

type S = Host<ReclaimOnSleep, 20, true>;

fn depths() -> Depths {
    audit::depths::<S>().expect("this build audits")
}

/// The main thread and the idle one have been switched away from, and are counted.
fn depths_of_who_was_there() -> Depths {
    sleep::<S>(1_000);
    depths()
}

/// How many threads more there are in each bucket than `before`.
fn more_than(before: Depths) -> Vec<u32> {
    let now = depths().threads;
    now.iter().zip(before.threads).map(|(now, before)| now - before).collect()
}

/// The depths are those of the records alone; a switch puts a few words more there.
#[test]
fn a_thread_is_counted_where_it_slept_at_its_deepest_and_once() {
    for (depth, bucket) in [(100, 0), (900, 0), (1_100, 1), (3_000, 2), (4_200, 3), (9_000, 4), (15_000, 4)] {
        let run = Plan::new(1).run::<S>(move || {
            let before = depths_of_who_was_there();
            let thread = Builder::new().spawn::<S, _, _>(move || {
                deeper(depth, park::<S>);
                park::<S>();
            });
            let thread = thread.unwrap();
            let one = (0..audit::BUCKETS).map(|number| u32::from(number == bucket)).collect::<Vec<_>>();
            yield_now::<S>();
            assert_eq!(more_than(before), one, "asleep {depth} bytes deep");
            thread.thread().unpark();
            yield_now::<S>();
            assert_eq!(more_than(before), one, "asleep above, when it had been {depth} bytes deep");
            thread.thread().unpark();
            thread.join().unwrap();
            settle::<S>();
            assert_eq!(more_than(before), one, "ended, when it had been {depth} bytes deep");
        });
        run.unwrap();
    }
}

/// It is never switched away from down there: the interrupt that wakes another one finds it.
#[test]
fn a_thread_is_seen_by_the_trap_that_interrupts_it() {
    let run = Plan::new(1).run::<S>(|| {
        let before = depths_of_who_was_there();
        let thread = Builder::new().spawn::<S, _, _>(|| deeper(9_000, || work(2_000)));
        sleep::<S>(100_000);
        thread.unwrap().join().unwrap();
        settle::<S>();
        assert_eq!(more_than(before), [0, 0, 0, 0, 1, 0, 0, 0]);
    });
    run.unwrap();
}

#[test]
fn a_build_that_does_not_audit_knows_none() {
    type Plain = Host<ReclaimOnSleep>;
    let run = Plan::new(1).run::<Plain>(|| assert_eq!(audit::depths::<Plain>(), None));
    run.unwrap();
}
