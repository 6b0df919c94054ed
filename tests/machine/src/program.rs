//! Programs: what the threads of a test do, in a form that can be drawn by lot and made smaller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ebbtide_core::memory::frames::Refusal;
use ebbtide_core::stack::{CallError, StackError, call_with};
use ebbtide_core::sync::{Mutex, WaitQueue};
use ebbtide_core::thread::{Builder, Priority, ThreadHandle, current, park, yield_now};
use ebbtide_core::{StackPolicy, System};

use crate::thread::{deeper, in_user_mode, is_on_temporary, refuse, room, settle, sleep, work};
use crate::{Host, Outcome, Plan, machine};

/// One thing that a thread does.
#[derive(Clone, Debug)]
pub enum Op {
    /// Goes down by so many bytes, as far as there is room, and does these things there.
    Deeper(u64, Vec<Op>),
    /// Works for so many steps, so that its time slice may end.
    Work(u32),
    /// Works for so many steps in user mode, and comes back.
    UserMode(u32),
    /// Gives way.
    Yield,
    /// Sleeps for so many nanoseconds.
    Sleep(u64),
    /// Waits until somebody gives a token, and takes it.
    Take,
    /// Gives a token.
    Give,
    /// Parks until the thread that is told of it, which is another one if there is one, unparks it.
    Park,
    /// Does these things while it holds the lock that all share.
    Locked(Vec<Op>),
    /// Spawns a thread and waits for its end, if there is memory for one.
    Spawn(Task),
    /// Does these things on a temporary stack of so many bytes, if there is memory for one.
    Borrow(usize, Vec<Op>),
}

/// A thread.
#[derive(Clone, Debug)]
pub struct Task {
    /// Bytes of stack.
    pub stack_bytes: usize,
    /// Whether the stack is always populated.
    pub pinned: bool,
    /// The level of its priority.
    pub priority: u8,
    /// What it does.
    pub ops: Vec<Op>,
}

/// What the threads of a program share.
struct Shared<S> {
    tokens: AtomicU32,
    given: WaitQueue,
    lock: Mutex<S, ()>,
    parked: Mutex<S, Vec<ThreadHandle<S>>>,
    /// Threads that have not come to their end.
    unfinished: AtomicUsize,
}

impl Plan {
    /// Runs the tasks, each in a thread of its own, on this machine under policy `P`, and holds the frames against what
    /// uses them when all have come to their end.
    pub fn run_tasks<P: StackPolicy, const GENERATION_BITS: u32>(self, tasks: Vec<Task>) -> Outcome {
        self.run::<Host<P, GENERATION_BITS>>(move || run::<Host<P, GENERATION_BITS>>(&tasks))
    }

    /// The same where core checks its invariants itself, and what the command line asks for goes wrong.
    pub fn run_tasks_audited<P: StackPolicy>(self, tasks: Vec<Task>) -> Outcome {
        self.run::<Host<P, 20, true>>(move || run::<Host<P, 20, true>>(&tasks))
    }
}

fn run<S: System>(tasks: &[Task]) {
    let shared = Arc::new(Shared::<S> {
        tokens: AtomicU32::new(0),
        given: WaitQueue::new(),
        lock: Mutex::new(()),
        parked: Mutex::new(Vec::new()),
        unfinished: AtomicUsize::new(0),
    });
    let refusal = machine::current().refusal;
    // The other CPUs have booted.
    settle::<S>();
    // What the command line asks for goes on as it is.
    let is_faulty = !machine::current().faults.is_empty();
    if !is_faulty {
        refuse::<S>(refusal);
    }
    let handles: Vec<_> = tasks.iter().filter_map(|task| spawn(&shared, task)).collect();
    // Nobody waits for ever: whoever lacks a token or an unpark gets it from here.
    while shared.unfinished.load(Ordering::Relaxed) > 0 {
        shared.do_all(&[Op::Give, Op::Sleep(50_000_000)]);
        shared.unpark_one();
    }
    for handle in handles {
        let Ok(()) = handle.join();
    }
    if !is_faulty {
        machine::current().allocations.set(refuse::<S>(Refusal::Never));
    }
    if refusal != Refusal::Never {
        // Whatever failed: now that there is memory, a thread is spawned, and can use all of its stack.
        let again = Builder::new().spawn::<S, _, _>(|| deeper(room(), || sleep::<S>(1_000_000)));
        let Ok(()) = again.expect("there is memory").join();
    }
    // The last steps of threads whose result is there, and the idle threads', which free what they left: with this CPU's answer, which
    // has interrupts off once it settles.
    shared.do_all(&[Op::Sleep(50_000_000)]);
    settle::<S>();
}

fn spawn<S: System>(shared: &Arc<Shared<S>>, task: &Task) -> Option<ebbtide_core::thread::JoinHandle<S, ()>> {
    let theirs = Arc::clone(shared);
    let ops = task.ops.clone();
    let mut builder = Builder::new().stack_size(task.stack_bytes);
    builder = builder.priority(Priority::new(task.priority).expect("a priority of an app's"));
    if task.pinned {
        builder = builder.always_populated();
    }
    shared.unfinished.fetch_add(1, Ordering::Relaxed);
    let handle = builder.spawn::<S, _, _>(move || {
        theirs.do_all(&ops);
        theirs.unfinished.fetch_sub(1, Ordering::Relaxed);
    });
    if handle.is_err() {
        shared.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
    handle.ok()
}

impl<S: System> Shared<S> {
    fn do_all(self: &Arc<Self>, ops: &[Op]) {
        for op in ops {
            self.do_one(op);
        }
    }

    fn do_one(self: &Arc<Self>, op: &Op) {
        match op {
            Op::Deeper(bytes, ops) => deeper((*bytes).min(room()), || self.do_all(ops)),
            Op::Work(steps) => work(*steps),
            // Who goes there has come back from all calls.
            Op::UserMode(steps) if is_on_temporary() => work(*steps),
            Op::UserMode(steps) => in_user_mode::<S>(|| work(*steps)),
            Op::Yield => yield_now::<S>(),
            Op::Sleep(ns) => sleep::<S>(*ns),
            Op::Take => self.given.wait_while::<S>(|| !self.take()),
            Op::Give => {
                self.tokens.fetch_add(1, Ordering::SeqCst);
                self.given.wake_one::<S>();
            }
            Op::Park => {
                self.unpark_one();
                self.parked.lock().push(current::<S>());
                park::<S>();
            }
            Op::Locked(ops) => {
                let _guard = self.lock.lock();
                // A token or an unpark need not come while others wait for the lock, and nobody locks twice.
                for op in ops.iter().filter(|op| matches!(op, Op::Sleep(_) | Op::Work(_) | Op::Yield)) {
                    self.do_one(op);
                }
            }
            Op::Spawn(task) => {
                if let Some(handle) = spawn(self, task) {
                    let Ok(()) = handle.join();
                }
            }
            Op::Borrow(bytes, ops) => match call_with::<S, _>(*bytes, || self.do_all(ops)) {
                Ok(()) | Err(CallError::NoStack(StackError::NoFrame { .. })) => {}
                Err(error) => panic!("no stack of {bytes} bytes: {error}"),
            },
        }
    }

    fn take(&self) -> bool {
        self.tokens.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |tokens| tokens.checked_sub(1)).is_ok()
    }

    fn unpark_one(&self) {
        let thread = self.parked.lock().pop();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}
