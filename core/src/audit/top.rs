//! `ebbtide.top`: what threads, stacks and CPUs are like, every so many milliseconds, in lines for a program (`cargo xtask top`).
//!
//! A thread of the kernel's, with a stack of its own and above all others in priority, looks and prints. Nothing is done for it on the
//! switch path: it reads what is there. While it looks at the slots of a size class, no thread of that class is freed; what other CPUs do
//! meanwhile may be seen half.
#![expect(unsafe_code, reason = "follows the notes of slots to their threads")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use super::name::Name;
use crate::arch::{Paging, StackEntry};
use crate::console;
use crate::cpu::PerCpu;
use crate::platform::Platform;
use crate::stack::{self, Note, SizeClass, Slot, StackError, StackPolicy};
use crate::start;
use crate::system::System;
use crate::thread::{self, Priority, Request, Thread};

/// Bytes of its stack.
const STACK_BYTES: u64 = 16 << 10;

/// Threads of which there is a line each, those with the most frames first; all are in the sums.
const MOST_ROWS: usize = 40;

/// What threads do: an index of [`STATES`].
const RUNNING: usize = 0;
const READY: usize = 1;
const BLOCKED: usize = 2;
const ENDED: usize = 3;
const STATES: [&str; 4] = ["running", "ready", "blocked", "ended"];

/// What is known of a thread.
#[derive(Debug)]
struct Row {
    id: u64,
    name: Name,
    state: usize,
    priority: usize,
    pages: Pages,
    /// The deepest that it was seen, in bytes.
    deepest: u32,
}

/// A stack's pages, or those of all.
#[derive(Clone, Copy, Debug, Default)]
struct Pages {
    populated: usize,
    resting: usize,
    empty: usize,
}

/// What was seen of all threads.
#[derive(Debug, Default)]
struct Seen {
    states: [usize; STATES.len()],
    pages: Pages,
    rows: Vec<Row>,
}

/// Begins to tell, if the command line asks for it.
///
/// # Errors
///
/// There is no memory for the thread that does.
pub(crate) fn begin<S: System>() -> Result<(), StackError> {
    if S::AUDIT && S::kernel().settings.top_ms() > 0 {
        let request = Request { priority: Priority::KERNEL, ..start::system("top", STACK_BYTES) };
        thread::spawn::<S>(request, Box::new(|| super::first::<S, _, _>(tell::<S>)))?;
    }
    Ok(())
}

fn tell<S: System>() -> ! {
    let period = u64::from(S::kernel().settings.top_ms()) * 1_000_000;
    // Once, so that later it takes nothing of the heap.
    let mut seen = Seen { rows: Vec::with_capacity(MOST_ROWS + 1), ..Seen::default() };
    let mut next = S::Platform::now();
    loop {
        next += period;
        while S::Platform::now() < next {
            thread::block_until::<S>(next);
        }
        look::<S>(&mut seen);
        print::<S>(&seen);
        // Where printing takes longer than that, others have their turn all the same.
        next = next.max(S::Platform::now());
    }
}

fn look<S: System>(seen: &mut Seen) {
    let Seen { states, pages, rows } = seen;
    (*states, *pages) = Default::default();
    rows.clear();
    for class in SizeClass::all() {
        // The class's lock keeps threads from being freed while they are looked at.
        S::kernel().stacks.classes[class.index()].with::<S, _>(|slots| {
            for number in 0..slots.used {
                let Some(row) = row::<S>(Slot { class, number }) else { continue };
                states[row.state] += 1;
                pages.add(row.pages);
                keep(rows, row);
            }
        });
    }
}

/// Keeps a row among those with the most frames.
fn keep(rows: &mut Vec<Row>, row: Row) {
    let rank = |row: &Row| (Reverse(row.pages.populated + row.pages.resting), row.id);
    let place = rows.partition_point(|other| rank(other) < rank(&row));
    if place < MOST_ROWS {
        rows.truncate(MOST_ROWS - 1);
        rows.insert(place, row);
    }
}

fn row<S: System>(slot: Slot) -> Option<Row> {
    let entries = stack::entries::<S>(slot)?;
    let Note::Owner(owner) = entries.note() else { return None };
    // SAFETY: the owner is cleared, under the class's lock, before its thread is freed.
    let owner: &Thread = unsafe { owner.as_ref() };
    let is_running = S::kernel().cpus().any(|cpu| cpu.current().is_some_and(|runs| core::ptr::eq(runs, owner)));
    let deepest = owner.deepest.bytes::<S>();
    // What stands for a trap's stack never runs.
    if owner.is_system() && !is_running && deepest == 0 {
        return None;
    }
    let mut pages = Pages::default();
    for page in 0..slot.class.stack_pages(S::Policy::GUARD) {
        match S::Arch::decode_stack(entries.page(page).load(Ordering::Relaxed)) {
            StackEntry::Present { .. } => pages.populated += 1,
            StackEntry::Resting { .. } => pages.resting += 1,
            StackEntry::Empty => pages.empty += 1,
        }
    }
    let state = match () {
        () if is_running => RUNNING,
        () if owner.state.has_ended() => ENDED,
        () if owner.state.is_asleep() => BLOCKED,
        () => READY,
    };
    Some(Row { id: owner.id().0, name: Name::of(owner), state, priority: owner.priority().level(), pages, deepest })
}

impl Pages {
    fn add(&mut self, other: Self) {
        self.populated += other.populated;
        self.resting += other.resting;
        self.empty += other.empty;
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "populated={} resting={} empty={}", self.populated, self.resting, self.empty)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, state, priority, pages, deepest } = self;
        write!(f, "id={id} name={name} state={} priority={priority} {pages} deepest={deepest}", STATES[*state])
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, threads) in STATES.iter().zip(self.states) {
            write!(f, "{name}={threads} ")?;
        }
        write!(f, "{}", self.pages)
    }
}

/// Prints a line in one piece: whatever other threads print stands above or below it.
fn line<S: System>(line: fmt::Arguments<'_>) {
    let mut text = heapless::String::<LINE_BYTES>::new();
    // All that is in a line has an end, and they fit.
    let _ = writeln!(text, "ebbtide: top {line}");
    console::print_str::<S>(&text);
}

/// Bytes of the longest line: fifteen words and numbers of 64 bits.
const LINE_BYTES: usize = 512;

fn print<S: System>(seen: &Seen) {
    let free = S::kernel().frame_counts_now::<S>();
    let now = S::Platform::now() / 1_000_000;
    line::<S>(format_args!("all ms={now} {seen} free={} frames={}", free.free, free.total));
    S::kernel().cpus().for_each(|cpu| print_cpu::<S>(cpu));
    seen.rows.iter().for_each(|row| line::<S>(format_args!("thread {row}")));
    line::<S>(format_args!("end"));
}

fn print_cpu<S: System>(cpu: &PerCpu) {
    let counters = cpu.cache_counters();
    line::<S>(format_args!(
        "cpu number={} runs={} cache={} reserved={} switches={} rested={} freed={} parked={} idle={}",
        cpu.number,
        cpu.current().map_or(0, |thread| thread.id().0),
        cpu.cached_frames(),
        cpu.reserved_frames(),
        counters.switches,
        counters.pages_rested,
        counters.pages_freed,
        counters.parked,
        cpu.idle_passes.load(Ordering::Relaxed),
    ));
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::thread::Priority;

    fn row(id: u64, populated: usize) -> Row {
        let name = Name::of(&Thread::for_test(Priority::NORMAL));
        let pages = Pages { populated, resting: 1, empty: 2 };
        Row { id, name, state: BLOCKED, priority: 16, pages, deepest: 800 }
    }

    #[test]
    fn those_with_the_most_frames_have_a_line() {
        let mut rows = Vec::new();
        (0..100).for_each(|id| keep(&mut rows, row(id, 1 + id as usize % 50)));
        assert_eq!(rows.len(), MOST_ROWS);
        let first: Vec<_> = rows.iter().take(3).map(|row| (row.id, row.pages.populated)).collect();
        assert_eq!(first, [(49, 50), (99, 50), (48, 49)]);
        assert_eq!(rows.last().map(|row| row.pages.populated), Some(31));
    }

    #[test]
    fn a_line_has_a_word_for_each_value() {
        assert_eq!(
            row(7, 3).to_string(),
            "id=7 name= state=blocked priority=16 populated=3 resting=1 empty=2 deepest=800"
        );
        let seen = Seen { states: [1, 2, 3, 4], pages: row(0, 5).pages, rows: Vec::new() };
        assert_eq!(seen.to_string(), "running=1 ready=2 blocked=3 ended=4 populated=5 resting=1 empty=2");
    }
}
