//! Each check of the model, seen to fire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ebbtide_core::System;
use ebbtide_core::arch::{PAGE_BYTES, StackEntry};
use ebbtide_core::stack::{Incoming, Leaving, NewStack, NoFrame, Outgoing, Stack, StackPolicy};
use ebbtide_core::thread::{Builder, JoinHandle, park, yield_now};
use ebbtide_machine::tamper::{
    accessed_dirty, invalidate, own_page, read, scribble, set_stack_pointer, store_on, walk_ahead, write,
};
use ebbtide_machine::{Fill, Host, Outcome, Plan, Wrong, deeper, settle, sleep};
use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep;

type Reclaiming = Host<ReclaimOnSleep>;

/// A thread that parks `depth` bytes deep, and where its top page lies.
fn parked(depth: u64) -> (JoinHandle<Reclaiming, ()>, u64) {
    let top = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&top);
    let thread = Builder::new().spawn::<Reclaiming, _, _>(move || {
        theirs.store(own_page(0), Ordering::Relaxed);
        deeper(depth, park::<Reclaiming>);
    });
    while top.load(Ordering::Relaxed) == 0 {
        yield_now::<Reclaiming>();
    }
    (thread.unwrap(), top.load(Ordering::Relaxed))
}

/// A thread sleeps shallow until what it left is freed, and then deep.
fn sleepers(plan: Plan) -> Outcome {
    plan.run::<Reclaiming>(|| {
        let (thread, _) = parked(100);
        sleep::<Reclaiming>(1_000_000);
        thread.thread().unpark();
        thread.join().unwrap();
        sleep::<Reclaiming>(1_000_000);
    })
}

fn frame(page: u64) -> ebbtide_core::PhysAddr {
    match read(page) {
        StackEntry::Present { frame } | StackEntry::Resting { frame, .. } => frame,
        StackEntry::Empty => panic!("{page:#x} has no frame"),
    }
}

/// Gives a frame to the allocator, whoever has it.
fn free_at_once(frame: ebbtide_core::PhysAddr) {
    #![expect(unsafe_code, reason = "breaks an invariant on purpose")]
    // SAFETY: none; the machine's RAM is nothing but words, and the checks have to notice.
    Reclaiming::kernel().frames.with::<Reclaiming, _>(|frames| unsafe { frames.deallocate(frame) });
}

fn tampered(main: impl FnOnce() + Send + 'static) -> Outcome {
    Plan::new(1).run::<Reclaiming>(main)
}

#[test]
fn a_machine_on_which_nothing_is_wrong_is_not_found_broken() {
    sleepers(Plan::new(1)).unwrap();
    sleepers(Plan::wild(1, 3)).unwrap();
}

#[test]
fn a_broadcast_that_forgets_a_cpu_is_found() {
    sleepers(Plan::new(1).wrong(Wrong::ForgetsCpu(0))).broken("have not invalidated it since it rested");
    // Whoever frees, and however little the TLBs know.
    for fill in [Fill::Eager, Fill::OnUse] {
        let plan = Plan::wild(1, 3).fill(fill).wrong(Wrong::ForgetsCpu(2));
        plan.run::<Reclaiming>(|| {
            sleep::<Reclaiming>(20_000_000);
            drop(parked(100));
            sleep::<Reclaiming>(1_000_000);
        })
        .broken("have not invalidated it since it rested");
    }
}

#[test]
fn an_invalidation_on_one_cpu_alone_is_found() {
    sleepers(Plan::wild(1, 2).wrong(Wrong::InvalidatesHereOnly)).broken("have not invalidated it since it rested");
}

#[test]
fn populating_without_publishing_is_found() {
    sleepers(Plan::new(1).wrong(Wrong::PublishesNothing)).broken("publish");
}

#[test]
fn an_entry_that_a_walker_has_to_write_is_found() {
    for fill in [Fill::OnUse, Fill::OneStepIn(3), Fill::Eager] {
        let plan = Plan::new(1).fill(fill).wrong(Wrong::LeavesBitsToTheWalker);
        sleepers(plan).broken("a walker had to write");
    }
}

#[test]
fn a_walker_that_may_write_sets_accessed_when_it_looks_and_dirty_for_a_store() {
    let plan = Plan::new(1).fill(Fill::OnUse).wrong(Wrong::LeavesBitsToTheWalker).walkers_may_write();
    let run = plan.run::<Reclaiming>(|| {
        let page = own_page(3);
        assert_eq!(accessed_dirty(page), (false, false));
        walk_ahead(0, page);
        assert_eq!(accessed_dirty(page), (true, false));
        // Its TLB knows the page, and that it is not Dirty.
        store_on(0, page);
        assert_eq!(accessed_dirty(page), (true, true));
    });
    run.unwrap();
}

/// What walkers write, core writes over or leaves alone, and nothing comes of it.
#[test]
fn core_takes_entries_that_walkers_write() {
    for seed in 0..10 {
        let plan = Plan::wild(seed, 3).fill(Fill::OneStepIn(3)).wrong(Wrong::LeavesBitsToTheWalker);
        sleepers(plan.walkers_may_write()).unwrap();
    }
}

#[test]
fn a_guard_page_that_is_present_is_found() {
    tampered(|| write(own_page(16), StackEntry::Present { frame: frame(own_page(0)) })).broken("guard page");
}

#[test]
fn a_frame_in_two_places_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        sleep::<Reclaiming>(1_000_000);
        assert_eq!(read(top - PAGE_BYTES), StackEntry::Empty);
        write(top - PAGE_BYTES, StackEntry::Present { frame: frame(own_page(0)) });
    })
    .broken("in two places");
}

#[test]
fn a_page_whose_frame_is_a_page_table_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        sleep::<Reclaiming>(1_000_000);
        write(top - PAGE_BYTES, StackEntry::Present { frame: Reclaiming::kernel().root() });
    })
    .broken("is a page table");
}

#[test]
fn a_page_table_whose_frame_is_a_pages_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        free_at_once(frame(top - PAGE_BYTES));
        // No stack of this size was ever used: the next frame becomes a table.
        drop(Builder::new().stack_size(32 << 10).spawn::<Reclaiming, _, _>(|| ()));
    })
    .broken("became a page table");
}

#[test]
fn a_page_that_is_emptied_without_resting_is_found() {
    tampered(|| {
        let (_thread, top) = parked(3 * PAGE_BYTES);
        write(top - 3 * PAGE_BYTES, StackEntry::Empty);
    })
    .broken("no change that the protocol allows");
}

#[test]
fn a_resting_page_that_comes_back_with_another_frame_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        write(top - PAGE_BYTES, StackEntry::Present { frame: frame(own_page(0)) });
    })
    .broken("no change that the protocol allows");
}

#[test]
fn a_resting_page_that_is_emptied_before_it_is_invalidated_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        write(top - PAGE_BYTES, StackEntry::Empty);
    })
    .broken("have not invalidated it since it rested");
}

#[test]
fn a_resting_page_that_is_emptied_while_a_tlb_knows_it_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        let (page, resting) = (top - PAGE_BYTES, read(top - PAGE_BYTES));
        invalidate(0, page);
        // Taken back, known again, and put to rest again: what was invalidated before counts no more.
        write(page, StackEntry::Present { frame: frame(page) });
        walk_ahead(0, page);
        write(page, next_generation(resting));
        write(page, StackEntry::Empty);
    })
    .broken("have not invalidated it since it rested");
}

fn next_generation(entry: StackEntry) -> StackEntry {
    match entry {
        StackEntry::Resting { frame, generation } => StackEntry::Resting { frame, generation: generation + 1 },
        other => panic!("{other:?} does not rest"),
    }
}

#[test]
fn a_rest_with_a_generation_that_was_not_raised_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        let (page, resting) = (top - PAGE_BYTES, read(top - PAGE_BYTES));
        write(page, StackEntry::Present { frame: frame(page) });
        write(page, resting);
    })
    .broken("a generation that was not raised");
}

#[test]
fn a_page_with_live_records_that_rests_is_found() {
    tampered(|| {
        let (_thread, top) = parked(PAGE_BYTES + 100);
        let generation = 1 << 10;
        write(top - PAGE_BYTES, StackEntry::Resting { frame: frame(top - PAGE_BYTES), generation });
    })
    .broken("a page with live records went");
}

#[test]
fn a_top_page_that_rests_is_found() {
    tampered(|| {
        let (_thread, top) = parked(8);
        write(top, StackEntry::Resting { frame: frame(top), generation: 1 << 10 });
    })
    .broken("the top page of a living thread's stack went");
}

#[test]
fn a_page_that_goes_while_its_thread_runs_is_found() {
    tampered(|| {
        let page = own_page(5);
        write(page, StackEntry::Resting { frame: frame(page), generation: 1 << 10 });
    })
    .broken("a page went of the stack on which CPU 0 runs");
}

#[test]
fn a_page_that_an_always_populated_stack_loses_is_found() {
    tampered(|| {
        // The CPU's trap stack came first: slot 0 of the smallest class, whose highest page is this.
        let page = ebbtide_core::memory::layout::STACKS + 3 * PAGE_BYTES;
        write(page, StackEntry::Resting { frame: frame(page), generation: 1 });
    })
    .broken("an always populated stack lost a page");
}

#[test]
fn a_store_through_a_stale_translation_is_found() {
    tampered(|| {
        let (_thread, top) = parked(100);
        // Its TLB knows the page from when it was populated.
        store_on(0, top - PAGE_BYTES);
    })
    .broken("through a stale translation");
}

#[test]
fn a_live_record_that_is_overwritten_is_found() {
    tampered(|| deeper(PAGE_BYTES, || scribble(own_page(0)))).broken("was overwritten with 0xdeadbeef");
    tampered(|| {
        let (thread, top) = parked(100);
        scribble(top);
        thread.thread().unpark();
        thread.join().unwrap();
    })
    .broken("was overwritten with 0xdeadbeef");
}

#[test]
fn a_stack_pointer_that_is_saved_outside_of_its_stack_is_found() {
    tampered(|| {
        // Main's stack is the only one of its class.
        set_stack_pointer(own_page(0) + PAGE_BYTES + 64);
        yield_now::<Reclaiming>();
        sleep::<Reclaiming>(1_000);
    })
    .ended(105, "page fault");
}

#[test]
fn a_frame_that_is_lost_is_found() {
    tampered(|| {
        let kernel = Reclaiming::kernel();
        let lost = kernel.frames.with::<Reclaiming, _>(|frames| frames.allocate());
        assert!(lost.is_some());
        settle::<Reclaiming>();
    })
    .broken("frames are not free");
}

#[test]
fn a_policy_that_leaves_the_next_thread_without_its_pages_is_found() {
    Plan::new(1).run::<Host<Forgets>>(|| drop(spawn_one::<Host<Forgets>>())).broken("is not present");
}

#[test]
fn a_policy_that_claims_too_few_frames_ends_the_run_with_a_message() {
    let run = Plan::new(1).run::<Host<ClaimsTooFew>>(|| {
        for _ in 0..40 {
            drop(spawn_one::<Host<ClaimsTooFew>>());
        }
    });
    run.panicked("claims-too-few takes more frames at a switch than it asked for");
}

#[test]
fn a_policy_that_leaves_out_the_top_page_ends_the_run_with_a_message() {
    Plan::new(1).run::<Host<NoTop>>(|| ()).panicked("without its top page");
}

#[test]
fn a_policy_that_takes_nothing_is_no_error() {
    let run = Plan::new(1).run::<Host<KeepsAll>>(|| {
        drop(spawn_one::<Host<KeepsAll>>());
        sleep::<Host<KeepsAll>>(1_000_000);
        settle::<Host<KeepsAll>>();
    });
    assert_eq!(run.unwrap().invalidations, 0);
}

/// A generation that comes round again within one flush lets a page be freed that was taken back, known to a TLB, and
/// put to rest again: the hole that 20 bits close. The model has to find it when there is a single bit.
#[test]
fn generations_of_one_bit_let_a_frame_be_freed_that_a_tlb_knows() {
    let found = (0..100).find(|seed| {
        let run = racing(*seed).run::<Host<ReclaimOnSleep, 1>>(race::<Host<ReclaimOnSleep, 1>>);
        matches!(run.end, ebbtide_machine::End::Broken(what) if what.contains("have not invalidated it since it rested"))
    });
    assert!(found.is_some(), "100 schedules did not find the hole");
    for seed in 0..20 {
        racing(seed).run::<Reclaiming>(race::<Reclaiming>).unwrap();
    }
}

/// Sleeping takes tens of steps, and freeing everything hundreds.
fn racing(seed: u64) -> Plan {
    Plan::wild(seed, 3).step_ns(2_000)
}

/// Threads that sleep briefly, so that they rest and wake on any CPU while one frees what rests, which takes it long:
/// many others have left notes in its ring.
fn race<S: System>() {
    let others: Vec<_> = (0..30).map(|_| Builder::new().spawn::<S, _, _>(park::<S>).unwrap()).collect();
    let racers: Vec<_> = (0..4)
        .map(|_| Builder::new().spawn::<S, _, _>(|| (0..30).for_each(|_| sleep::<S>(200_000))).unwrap())
        .collect();
    for thread in racers {
        thread.join().unwrap();
    }
    for thread in others {
        thread.thread().unpark();
        thread.join().unwrap();
    }
}

fn spawn_one<S: System>() -> JoinHandle<S, ()> {
    let thread = Builder::new().spawn::<S, _, _>(|| sleep::<S>(1_000)).unwrap();
    yield_now::<S>();
    thread
}

/// Populates the top page and never another one.
struct Forgets;

impl StackPolicy for Forgets {
    const NAME: &'static str = "forgets";

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_top()
    }
}

/// Says that it needs nothing, and populates everything.
struct ClaimsTooFew;

impl StackPolicy for ClaimsTooFew {
    const NAME: &'static str = "claims-too-few";
    const ASKS_FOR_FRAMES: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_top()
    }

    fn before_switch_in<S: System>(next: &mut Incoming<'_, S>) {
        next.populate_all();
    }
}

/// Populates nothing at spawn.
struct NoTop;

impl StackPolicy for NoTop {
    const NAME: &'static str = "no-top";

    fn on_spawn(_: &mut NewStack<'_>) -> Result<(), NoFrame> {
        Ok(())
    }
}

/// Reclaims nothing: wasteful, and sound.
struct KeepsAll;

impl StackPolicy for KeepsAll {
    const NAME: &'static str = "keeps-all";
    const ASKS_FOR_FRAMES: bool = true;

    fn on_spawn(stack: &mut NewStack<'_>) -> Result<(), NoFrame> {
        stack.populate_top()
    }

    fn frames_to_switch_in(next: &Stack) -> usize {
        next.absent()
    }

    fn before_switch_in<S: System>(next: &mut Incoming<'_, S>) {
        next.populate_all();
    }

    fn after_switch_out<S: System>(_: &mut Outgoing<'_, S>, _: Leaving) {}
}
