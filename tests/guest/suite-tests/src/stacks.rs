//! Stacks: what stays, what is reclaimed, and where the frames are.

use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use ebbtide::provoke;
use ebbtide::stack::{self, Counters, GROWS_ON_FAULT as GROWS, RESTS_AT_SWITCH as RECLAIMS, SWEEPS, Sample};
use ebbtide::sync::Arc;
use ebbtide::thread::{self, Builder, JoinHandle};
use ebbtide::time::Duration;

use crate::cpus;
use crate::harness::{Outcome, conserved, failed, pass_time, wait_until};

tests![
    a_thread_asleep_shallow_keeps_what_its_policy_says,
    an_always_populated_stack_stays_populated,
    a_thread_asleep_deep_keeps_its_live_pages,
    deep_frames_survive_sleeping,
    deep_frames_survive_yielding,
    deep_frames_survive_preemption,
    a_reference_into_a_sleeping_threads_stack_stays_valid,
    an_idle_cpu_frees_what_rests,
    ; on one CPU:
    resting_pages_are_taken_back_without_a_frame,
    a_crowd_overflows_the_ring,
];

/// Pages below those that a thread needs that it may keep besides, because the switch might have reached them.
const REACH: usize = if stack::RESTS_BEFORE_SWITCH { provoke::SWITCH_STACK_BYTES.div_ceil(4096) as usize } else { 0 };

/// A thread keeps what it has accessed, too. How much that is cannot be told where a CPU may know the pages from an earlier thread.
const KEEPS_ACCESSED: bool = stack::READS_ACCESSED_BITS;

/// Threads that wait to be let go: each runs `work` first, and says when it is done.
struct Sleepers<T> {
    handles: Vec<JoinHandle<T>>,
    asleep: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Sleepers<T> {
    /// Spawns `count` threads; `work` gets the thread's number and what it calls in order to sleep.
    fn spawn(count: usize, builder: fn() -> Builder, work: fn(usize, &dyn Fn()) -> T) -> Result<Self, String> {
        let mut sleepers = Self { handles: Vec::new(), asleep: Arc::default() };
        for number in 0..count {
            let asleep = Arc::clone(&sleepers.asleep);
            let sleep = move || {
                asleep.fetch_add(1, Ordering::AcqRel);
                thread::park();
            };
            let handle = builder().spawn(move || work(number, &sleep)).map_err(failed("spawn"))?;
            sleepers.handles.push(handle);
        }
        Ok(sleepers)
    }

    /// Samples once all sleep and the CPU has been idle.
    fn sample(&self) -> Result<Sample, String> {
        wait_until("not all of them sleep", || self.asleep.load(Ordering::Acquire) == self.handles.len())?;
        let (_, sample) = conserved()?;
        check_eq!(sample.threads, self.handles.len(), "threads that the walk found");
        Ok(sample)
    }

    fn wake(self) -> Vec<T> {
        for handle in &self.handles {
            handle.thread().unpark();
        }
        self.handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    }
}

/// Bytes of one call's canary.
const CANARY_WORDS: usize = 64;

/// Calls itself `depth` times, each with a canary of 512 bytes, runs `bottom` in the deepest, and returns how many
/// canaries were changed meanwhile.
fn dive(depth: usize, bottom: &dyn Fn()) -> usize {
    let canary = black_box([depth as u64 ^ 0x00c0_ffee; CANARY_WORDS]);
    let broken = if depth == 0 {
        bottom();
        0
    } else {
        dive(depth - 1, bottom)
    };
    let whole = black_box(&canary).iter().all(|word| *word == depth as u64 ^ 0x00c0_ffee);
    broken + usize::from(!whole)
}

/// Goes three pages deep and comes back.
fn splash() {
    dive(12, &|| {});
}

fn a_thread_asleep_shallow_keeps_what_its_policy_says() -> Outcome {
    let sleepers = Sleepers::spawn(20, Builder::new, |_, sleep| {
        splash();
        sleep();
    })?;
    let sample = sleepers.sample()?;
    sleepers.wake();
    let unasked = stack::unasked(stack::pages_of(16 << 10));
    // Where stacks grow, they keep what `splash` touched, and no more than there is.
    let kept = match (RECLAIMS || SWEEPS, GROWS) {
        (true, _) if KEEPS_ACCESSED => 1..=4,
        (true, _) => 1..=1 + REACH,
        (_, true) => 2..=4,
        _ => unasked..=unasked,
    };
    check!(
        (sample.stack.is_multiple_of(20) || KEEPS_ACCESSED) && kept.contains(&sample.stack.div_ceil(20)),
        "20 threads keep {} pages",
        sample.stack
    );
    check_eq!(sample.oracle, 20, "pages that 20 threads need");
    Ok(())
}

fn an_always_populated_stack_stays_populated() -> Outcome {
    for (builder, kib) in [
        ((|| Builder::new().always_populated()) as fn() -> Builder, 16),
        (|| Builder::new().stack_size(64 << 10).always_populated(), 64),
        (|| Builder::new().stack_size(128 << 10), 128),
    ] {
        let sleepers = Sleepers::spawn(3, builder, |_, sleep| {
            splash();
            sleep();
        })?;
        let sample = sleepers.sample()?;
        sleepers.wake();
        check_eq!(sample.stack, 3 * stack::pages_of(kib << 10), "pages that 3 threads keep");
    }
    Ok(())
}

fn a_thread_asleep_deep_keeps_its_live_pages() -> Outcome {
    let large = || Builder::new().stack_size(64 << 10);
    let sleepers = Sleepers::spawn(16, large, |number, sleep| {
        splash();
        dive(6 * number, sleep)
    })?;
    let sample = sleepers.sample()?;
    let broken: usize = sleepers.wake().into_iter().sum();
    check_eq!(broken, 0, "canaries that were changed");
    // The deepest has 90 canaries of 512 bytes: 11 pages and more.
    check!(sample.oracle >= 16 * 6, "they did not go deep: {} live pages", sample.oracle);
    // No thread has accessed more than the deepest.
    let more = if KEEPS_ACCESSED { 16 * 3 } else { 16 * REACH };
    // Of that size they are always populated where they would have to ask.
    let whole = 16 * stack::pages_of(64 << 10);
    let kept = match (RECLAIMS || SWEEPS, GROWS) {
        (true, _) => sample.oracle..=sample.oracle + more,
        // What `splash` touched, and what was parked from on the way down, at most three pages each.
        (_, true) => sample.oracle..=sample.oracle + 16 * 3,
        _ => whole..=whole,
    };
    check!(kept.contains(&sample.stack), "16 threads keep {} pages, not {kept:?}", sample.stack);
    Ok(())
}

/// Uses frames and gives them back, so that a page that was wrongly freed is overwritten.
fn churn() {
    let rounds = (0..30).map(|n| thread::spawn(move || dive(n % 14, &thread::yield_now)));
    for thread in rounds.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

fn divers(count: usize, bottom: fn()) -> Outcome {
    let threads: Vec<_> = (0..count).map(|n| thread::spawn(move || dive(n % 8, &bottom))).collect();
    churn();
    for thread in threads {
        check_eq!(thread.join().unwrap(), 0, "canaries that were changed");
    }
    Ok(())
}

fn deep_frames_survive_sleeping() -> Outcome {
    divers(32, || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(2));
            splash();
        }
    })
}

fn deep_frames_survive_yielding() -> Outcome {
    divers(32, || {
        for _ in 0..40 {
            thread::yield_now();
        }
    })
}

fn deep_frames_survive_preemption() -> Outcome {
    let preempted = stack::counters().cache.switches;
    divers(4, || {
        let start = ebbtide::time::Instant::now();
        while start.elapsed() < Duration::from_millis(60) {
            pass_time();
        }
    })?;
    let preempted = stack::counters().cache.switches - preempted;
    check!(preempted >= 12, "only {preempted} switches: nobody was preempted");
    Ok(())
}

fn a_reference_into_a_sleeping_threads_stack_stays_valid() -> Outcome {
    #![expect(unsafe_code, reason = "looks into another thread's stack, as a scoped thread would")]

    static CELL: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    static SEEN: AtomicU64 = AtomicU64::new(0);

    let deep = || Builder::new().stack_size(64 << 10);
    let sleepers = Sleepers::spawn(1, deep, |_, sleep| {
        // The cell lies deep below the top page, and the thread sleeps right there.
        dive(60, &|| {
            let cell = AtomicU64::new(41);
            CELL.store(ptr::from_ref(&cell).cast_mut(), Ordering::Release);
            sleep();
            SEEN.store(cell.load(Ordering::Acquire), Ordering::Release);
        })
    })?;
    sleepers.sample()?;
    churn();
    // SAFETY: the thread sleeps in the call that the cell belongs to until it is woken below.
    let cell = unsafe { &*CELL.load(Ordering::Acquire) };
    let there = cell.fetch_add(1, Ordering::AcqRel);
    stack::settle();
    let still_there = cell.load(Ordering::Acquire);
    let broken: usize = sleepers.wake().into_iter().sum();
    check_eq!((there, still_there), (41, 42), "what another thread saw");
    check_eq!(SEEN.load(Ordering::Acquire), 42, "what the thread itself saw");
    check_eq!(broken, 0, "canaries that were changed");
    Ok(())
}

/// What changed in the counters between two moments.
struct Change {
    before: Counters,
    after: Counters,
}

impl Change {
    fn during(work: impl FnOnce()) -> Self {
        let before = stack::counters();
        work();
        Self { before, after: stack::counters() }
    }

    fn of(&self, counter: fn(&Counters) -> u64) -> u64 {
        counter(&self.after) - counter(&self.before)
    }
}

fn resting_pages_are_taken_back_without_a_frame() -> Outcome {
    // The main thread and another one give way to each other: neither is idle.
    let other = thread::spawn(|| (0..2_000).for_each(|_| thread::yield_now()));
    thread::yield_now();
    let change = Change::during(|| (0..1_000).for_each(|_| thread::yield_now()));
    other.join().unwrap();
    // Of this CPU; others are idle all the time.
    check!(change.of(|c| c.idle_passes) == 0 || cpus::count() > 1, "{} idle passes", change.of(|c| c.idle_passes));
    check!(change.of(|c| c.cache.switches) >= 1_900, "only {} switches", change.of(|c| c.cache.switches));
    let rested = change.of(|c| c.cache.pages_rested);
    if RECLAIMS {
        // The main thread may have gone deep, and the other one has not.
        let least = if KEEPS_ACCESSED { 3 * 950 } else { 3 * 1_900 };
        check!(rested >= least, "only {rested} pages were rested");
    } else {
        check_eq!(rested, 0, "pages that were rested");
    }
    check_eq!(change.of(|c| c.cache.pages_freed), 0, "pages that were freed");
    check_eq!(change.of(|c| c.cache.refills_failed), 0, "refills that failed");
    Ok(())
}

fn an_idle_cpu_frees_what_rests() -> Outcome {
    let mut found = None;
    let change = Change::during(|| {
        let sleepers = Sleepers::spawn(40, Builder::new, |_, sleep| {
            if !KEEPS_ACCESSED {
                splash();
            }
            sleep();
        });
        found = Some(sleepers.and_then(|sleepers| Ok((sleepers.sample()?, sleepers))));
    });
    let (sample, sleepers) = found.ok_or("nothing was looked at")??;
    sleepers.wake();
    if RECLAIMS || SWEEPS {
        let freed = change.of(|c| c.cache.pages_freed);
        check!(freed >= 40 * 3, "only {freed} pages were freed");
        // What is kept: stacks without a thread, and a reserve for one switch on each CPU.
        let kept = 16 * (2 + 4 + 8 + 16 + 32 + 64 + 128 + 256) + 16 * cpus::count();
        check!(sample.cache <= kept, "{} frames in caches", sample.cache);
    } else {
        check_eq!(change.of(|c| c.cache.pages_freed), 0, "pages that were freed");
    }
    Ok(())
}

/// More threads are ready than the ring has notes, so it is compacted and, since all of them are valid, freed.
fn a_crowd_overflows_the_ring() -> Outcome {
    let crowd = 700.min(stack::frames().counts.free / 8);
    let mut broken = 0;
    let mut result = Ok(());
    let change = Change::during(|| {
        let threads: Result<Vec<_>, _> = (0..crowd)
            .map(|n| {
                let dive = move || {
                    dive(n % 8, &|| {
                        for _ in 0..10 {
                            splash_and_yield();
                        }
                    })
                };
                Builder::new().spawn(dive)
            })
            .collect();
        match threads {
            Ok(threads) => broken = threads.into_iter().map(|thread| thread.join().unwrap()).sum(),
            Err(error) => result = Err(failed("spawn")(error)),
        }
    });
    result?;
    check_eq!(broken, 0, "canaries that were changed");
    check_eq!(change.of(|c| c.cache.refills_failed), 0, "refills that failed");
    check!(change.of(|c| c.cache.switches) >= 10 * crowd as u64, "they were not switched between");
    let freed = change.of(|c| c.cache.pages_freed);
    if RECLAIMS && crowd > 300 {
        check!(change.of(|c| c.cache.refills) > 0, "nothing was refilled: the ring never overflowed");
        check!(freed > 0, "nothing was freed: the ring never overflowed");
    }
    // The main thread sleeps meanwhile.
    check!(RECLAIMS || SWEEPS || freed == 0, "{freed} pages were freed");
    Ok(())
}

fn splash_and_yield() {
    dive(6, &|| {});
    thread::yield_now();
}
