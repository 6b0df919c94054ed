//! No memory: for the heap, for a spawn, for a switch.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::mem;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use ebbtide::sync::{Arc, Barrier, Mutex, OnceLock};
use ebbtide::thread::{self, Builder, CpuSet, JoinHandle, Priority, StackError};
use ebbtide::{println, stack, user};

use crate::word;

pub fn main() -> Result<(), String> {
    match &*word(1) {
        // One allocation that is larger than the machine.
        "large" => drop(black_box(Vec::<u8>::with_capacity(1 << 33))),
        // Small ones until there is nothing left.
        "small" => {
            let mut all = Vec::new();
            loop {
                all.push(alloc::vec![1_u8; 1 << 14]);
            }
        }
        "in-thread" => {
            let eater = Builder::new().name("eater".into());
            let eater = eater.spawn(|| drop(black_box(Vec::<u8>::with_capacity(1 << 33))));
            eater.map_err(|error| format!("{error}"))?.join().unwrap();
        }
        "spawn" => spawn_until_it_fails()?,
        "spawn-unwrapped" => loop {
            thread::spawn(thread::park);
            thread::yield_now();
        },
        "switch" => sleep_deep_without_end()?,
        "through" => sleep_deep_and_come_through()?,
        "promised" => be_deep_at_once_as_promised()?,
        "promised-beside-user-mode" => be_deep_as_promised_beside_user_mode()?,
        "spawn-without-heap" => spawn_without_heap()?,
        "heap-then-spawn" => spawn_with_what_the_heap_had()?,
        "heap-then-deep" => go_deep_with_what_the_heap_had()?,
        "heap-again" => use_again_what_the_heap_had()?,
        other => return Err(other.into()),
    }
    Ok(())
}

/// Threads that wait for good, until there is no memory for another one's stack.
fn spawn_until_it_fails() -> Result<(), String> {
    for number in 0.. {
        let thread = Builder::new().always_populated().spawn(thread::park);
        thread.map_err(|error| format!("thread {number}: {error}"))?;
    }
    Ok(())
}

/// The other CPUs, kept busy while threads are made: these would run there at once, and take all their pages.
struct Others {
    holders: Vec<JoinHandle<()>>,
    go: Arc<AtomicBool>,
}

impl Others {
    fn hold() -> Self {
        let go = Arc::new(AtomicBool::new(false));
        let held = Arc::new(AtomicUsize::new(0));
        let cpus = thread::available_parallelism().unwrap().get();
        let holders: Vec<_> = (1..cpus)
            .map(|cpu| {
                let (go, held) = (Arc::clone(&go), Arc::clone(&held));
                let builder = Builder::new().priority(Priority::MAX).affinity(CpuSet::only(cpu as u32));
                let holder = builder.expect("the CPU runs").spawn(move || {
                    held.fetch_add(1, Ordering::AcqRel);
                    while !go.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                });
                holder.expect("there is memory")
            })
            .collect();
        while held.load(Ordering::Acquire) < holders.len() {
            thread::yield_now();
        }
        Self { holders, go }
    }

    fn let_go(self) {
        self.go.store(true, Ordering::Release);
        self.holders.into_iter().for_each(|holder| holder.join().unwrap());
    }
}

/// Threads that all fit while they have one page each. Then they run, one after the other, and each keeps all its
/// pages, because it sleeps deep: at last one cannot be switched to.
fn sleep_deep_without_end() -> Result<(), String> {
    let lower = Priority::new(8).expect("a level from 0 to 31");
    let others = Others::hold();
    for number in 0..stack::frames().counts.free / 2 {
        let thread = Builder::new().priority(lower).spawn(|| {
            go_deep(None, &|| loop {
                thread::park();
            })
        });
        thread.map_err(|error| format!("thread {number}: {error}"))?;
    }
    others.let_go();
    thread::park();
    Ok(())
}

/// More than three of a stack's four pages.
const DEEP_BYTES: usize = (12 << 10) + 128;

/// Goes deep, with small frames, and does `f` there.
fn go_deep(start: Option<usize>, f: &dyn Fn()) -> usize {
    let frame = black_box([7_usize; 32]);
    let here = frame.as_ptr().addr();
    let start = start.unwrap_or_else(|| {
        stack::ensure(DEEP_BYTES).expect("it was promised, or nobody else takes it");
        here
    });
    if start - here < DEEP_BYTES {
        return go_deep(Some(start), f) + black_box(frame)[0];
    }
    f();
    black_box(frame)[0]
}

/// The same threads, but each sleeps for a while only. Until there is no page free all run; the others, and this thread
/// too, which has the largest stack of all, wait for frames, and in the end all have come through.
fn sleep_deep_and_come_through() -> Result<(), String> {
    let lower = Priority::new(8).expect("a level from 0 to 31");
    let mut threads = Vec::new();
    let others = Others::hold();
    for number in 0..stack::frames().counts.free / 2 {
        let sleep = || thread::sleep(Duration::from_secs(2));
        let thread = Builder::new().priority(lower).spawn(move || go_deep(None, &sleep));
        threads.push(thread.map_err(|error| format!("thread {number}: {error}"))?);
    }
    others.let_go();
    let total = threads.len();
    for thread in threads {
        thread.join().unwrap();
    }
    let parked = stack::counters().cache.parked;
    println!("{total} threads came through, and some had waited for frames: {}", parked > 0);
    Ok(())
}

/// Threads that go deep together: each waits for all others, and this one, before it goes down, and again when it is there.
#[derive(Default)]
struct Together {
    threads: Vec<JoinHandle<()>>,
    all: Arc<OnceLock<[Barrier; 2]>>,
}

impl Together {
    fn spawn(&mut self) -> Result<(), StackError> {
        let all = Arc::clone(&self.all);
        let thread = Builder::new().spawn(move || {
            let [start, deep] = all.wait();
            start.wait();
            go_deep(None, &|| {
                deep.wait();
            });
        });
        thread.map(|thread| self.threads.push(thread))
    }

    /// Says why there are no more.
    fn spawn_all_that_are_let_in(&mut self) -> StackError {
        loop {
            if let Err(refused) = self.spawn() {
                return refused;
            }
        }
    }

    /// Allocates nothing once it has begun.
    fn go_deep(self) -> usize {
        let count = self.threads.len();
        let barrier = || Barrier::new(count + 1);
        let [start, deep] = self.all.get_or_init(|| [barrier(), barrier()]);
        start.wait();
        deep.wait();
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        count
    }
}

/// As many threads as are let in, and a heap that takes what it gets. Then all of them need their whole stacks at the same
/// time: that is what was promised if admission is strict.
fn be_deep_at_once_as_promised() -> Result<(), String> {
    let (mut together, food) = (Together::default(), food());
    together.threads.reserve(PAGES);
    let refused = together.spawn_all_that_are_let_in();
    println!("the thread after the last: {refused}");
    let eaten = eat(food, CHUNK);
    println!(
        "{} threads were deep at the same time, beside {} KiB of heap",
        together.go_deep(),
        CHUNK / 1024 * eaten.len()
    );
    Ok(())
}

/// Threads that need half of the memory if all are deep, and a thread of user mode that takes what it gets. What was promised is
/// none of its.
fn be_deep_as_promised_beside_user_mode() -> Result<(), String> {
    let mut together = Together::default();
    together.threads.reserve(PAGES);
    let pages_of_a_stack = 4;
    for number in 0..stack::frames().counts.free / 2 / pages_of_a_stack {
        together.spawn().map_err(|error| format!("thread {number}: {error}"))?;
    }
    let eater = user::Builder::new().spawn(eat_in_user_mode, CHUNK as u64).map_err(|error| format!("{error}"))?;
    // It never waits before it has all.
    let (mut before, mut now) = (0, 1);
    while before < now {
        thread::sleep(Duration::from_millis(50));
        before = mem::replace(&mut now, stack::frames().user);
    }
    // A spawn may get what the heap gives back.
    let refused = together.spawn_all_that_are_let_in();
    println!("the thread after the last: {refused}");
    let count = together.go_deep();
    eater.thread().unpark();
    let eaten = eater.join().map_err(|ended| format!("{ended}"))?;
    println!("{count} threads were deep at the same time, beside {} KiB of user mode's", eaten / 1024);
    Ok(())
}

/// Takes memory by so many bytes until there is no more, and keeps it until this thread is unparked. Returns how much it was.
fn eat_in_user_mode(chunk: u64) -> u64 {
    let mut eaten = 0;
    while user::raw_call(user::Call::Memory as u64, [chunk, 0, 0, 0, 0]).is_ok() {
        eaten += chunk;
    }
    user::park(None);
    eaten
}

/// The heap has all there is, to its last bytes, but for the frames that are the stacks' alone: a thread needs both.
fn spawn_without_heap() -> Result<(), String> {
    let [large, small] = [food(), food()];
    let [large, small] = [eat(large, CHUNK), eat(small, 16)];
    match Builder::new().spawn(thread::yield_now) {
        Ok(_) => return Err("there was memory for a thread".into()),
        Err(error) => println!("without heap: {error}"),
    }
    drop((large, small));
    let thread = Builder::new().spawn(thread::yield_now).map_err(|error| format!("with heap again: {error}"))?;
    thread.join().unwrap();
    println!("a thread came and went when there was heap again");
    Ok(())
}

const CHUNK: usize = 4 << 10;

/// Pages of the machine: there are fewer threads than that, and fewer chunks.
const PAGES: usize = (16 << 20) / CHUNK;

/// A list that has the room it may need.
fn food() -> Vec<Vec<u8>> {
    Vec::with_capacity(PAGES)
}

/// Allocates so many bytes at a time until there is no more.
fn eat(mut all: Vec<Vec<u8>>, bytes: usize) -> Vec<Vec<u8>> {
    loop {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(bytes).is_err() {
            return all;
        }
        all.push(chunk);
    }
}

/// The heap has had all there is; then it is free, and threads need it.
fn spawn_with_what_the_heap_had() -> Result<(), String> {
    drop(eat(food(), CHUNK));
    let before = stack::frames();
    let threads = spawn_more_than_is_free(thread::yield_now)?;
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!(
        "the heap gave back {} frames",
        if stack::frames().heap < before.heap / 2 { "most of its" } else { "few" }
    );
    Ok(())
}

/// Spawns threads for whose stacks the free frames do not suffice, by far.
fn spawn_more_than_is_free(work: impl Fn() + Clone + Send + 'static) -> Result<Vec<JoinHandle<()>>, String> {
    let spawn = |number| {
        let thread = Builder::new().always_populated().spawn(work.clone());
        thread.map_err(|error| format!("thread {number}: {error}"))
    };
    (0..stack::frames().counts.free + 100).map(spawn).collect()
}

/// What the heap gave back it takes again: other frames at the same addresses, which another CPU knows from before.
fn use_again_what_the_heap_had() -> Result<(), String> {
    let bound = |cpu| Builder::new().affinity(CpuSet::only(cpu)).map_err(|error| format!("{error}"));
    let (chunks, turn) = (Arc::new(Mutex::new(food())), Arc::new(Barrier::new(2)));
    let (theirs, their_turn) = (Arc::clone(&chunks), Arc::clone(&turn));
    let reader = bound(1)?.spawn(move || {
        [1, 2].map(|round| {
            their_turn.wait();
            let wrong = count_wrong(&theirs.lock(), round);
            their_turn.wait();
            wrong
        })
    });
    let writer = bound(0)?.spawn(move || {
        let write = |round| {
            let count = fill(&mut chunks.lock(), round);
            turn.wait();
            turn.wait();
            // Its own room stays where it is.
            chunks.lock().clear();
            count
        };
        let (first, is_over) = (write(1), Arc::new(OnceLock::new()));
        // They keep what they have got, so that the heap gets others.
        let until = Arc::clone(&is_over);
        let threads = spawn_more_than_is_free(move || *until.wait())?;
        let second = write(2);
        is_over.get_or_init(|| ());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        Ok::<_, String>([first, second])
    });
    let failed = |error| format!("{error}");
    let (wrong, of) = (reader.map_err(failed)?.join().unwrap(), writer.map_err(failed)?.join().unwrap()?);
    if wrong != [0, 0] {
        return Err(format!("{wrong:?} of {LOOKED_AT} chunks of the heap are not what was written there"));
    }
    println!("the heap gave its frames back and took most of them again: {}", of[1] > of[0] / 2 && of[1] < of[0]);
    Ok(())
}

/// Takes what the heap gets, and writes to each chunk what it is in this round.
fn fill(chunks: &mut Vec<Vec<u8>>, round: usize) -> usize {
    *chunks = eat(mem::take(chunks), CHUNK);
    (0..).zip(&mut *chunks).for_each(|(number, chunk)| chunk.push(value(round, number)));
    chunks.len()
}

/// Chunks that the other CPU looks at: no more than its TLB holds, which is small under QEMU.
const LOOKED_AT: usize = 32;

fn count_wrong(chunks: &[Vec<u8>], round: usize) -> usize {
    chunks.iter().take(LOOKED_AT).enumerate().filter(|(number, chunk)| chunk[0] != value(round, *number)).count()
}

fn value(round: usize, number: usize) -> u8 {
    (number * 7 + round * 101) as u8
}

/// The same for threads that are there already, and go deep.
fn go_deep_with_what_the_heap_had() -> Result<(), String> {
    let mut together = Together::default();
    let before = stack::frames();
    for number in 0..before.counts.free / 8 {
        together.spawn().map_err(|error| format!("thread {number}: {error}"))?;
    }
    drop(eat(food(), CHUNK));
    let left = stack::frames().counts.free;
    let count = together.go_deep();
    println!("{count} threads were deep at the same time, with what the heap had: {}", left < count);
    Ok(())
}
