//! Secondary CPUs: all but the one that boots.
//!
//! The boot CPU gives each of them, while that is still off, all that it needs to run threads: per-CPU data, stacks for its
//! traps, an idle thread. So a CPU that comes up allocates nothing and waits for nobody. It begins on the lower half of its
//! idle thread's stack, whose upper half holds that thread's first activation record.
//!
//! ```text
//!  boot CPU                              the CPU itself
//!  PREPARED  Platform::start_cpu ──────► loads the kernel's tables, Platform::init_cpu
//!            waits, for a time           ──► COMING, or FAILED
//!            ──► ABANDONED: too late     one of Kernel::cpus from now on, asked at every shootdown
//!                                        empties its TLB ──► JOINED: runs its idle thread
//! ```
//!
//! **Joining.** Between loading the tables and joining, the CPU may cache translations of stack pages, walked ahead of
//! time, that nobody will invalidate. So it empties its TLB once it has joined. Whoever frees a page makes its entry absent,
//! fences, and then reads who has joined; who joins writes that it has, fences, and then reads entries. Of two such, at least
//! one sees the other: either the CPU is asked to invalidate, or its walks find the entry absent.
//!
//! **A CPU that does not come up** in time is left out, and told so by its state word: should it come later, it finds that it
//! was abandoned, and stops. What it was given stays its own.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use core::time::Duration;

use crate::arch::{Cpu, Paging};
use crate::audit;
use crate::console;
use crate::cpu::{MAX_CPUS, PerCpu};
use crate::platform::Platform;
use crate::shootdown::Shootdown;
use crate::stack::StackError;
use crate::start::{self, prepare_cpu};
use crate::system::System;
use crate::thread;

/// How long a CPU may take to come up, in nanoseconds.
const PATIENCE_NS: u64 = 2_000_000_000;

/// Where a CPU is on its way up.
#[derive(Debug)]
pub(crate) struct Presence {
    state: AtomicU32,
    /// How many shootdowns had ended when it was started; once it has joined, how many were under way meanwhile.
    shootdowns: AtomicU64,
}

const PREPARED: u32 = 0;
const COMING: u32 = 1;
const JOINED: u32 = 2;
const ABANDONED: u32 = 3;
/// It came up and lacks something.
const FAILED: u32 = 4;

impl Presence {
    pub(crate) const fn new() -> Self {
        Self { state: AtomicU32::new(PREPARED), shootdowns: AtomicU64::new(0) }
    }

    /// How many shootdowns of stack pages were under way while this one came up.
    pub fn shootdowns_meanwhile(&self) -> u64 {
        self.shootdowns.load(Ordering::Relaxed)
    }

    /// Leaves [`PREPARED`] for `state`, if nobody did so before.
    fn become_if_prepared(&self, state: u32) -> bool {
        self.state.compare_exchange(PREPARED, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn set_joined(&self) {
        self.state.store(JOINED, Ordering::Release);
    }

    fn get(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }
}

/// Why a CPU is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// There is no memory for what it needs.
    NoMemory(StackError),
    /// The machine did not start it.
    NotStarted(&'static str),
    /// It did not come up in time.
    Silent,
    /// It came up and cannot be used.
    Lacks,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory(error) => error.fmt(f),
            Self::NotStarted(why) => f.write_str(why),
            Self::Silent => write!(f, "it did not come up within {} s", PATIENCE_NS / 1_000_000_000),
            Self::Lacks => f.write_str("its interrupt controller or its timer cannot be used"),
        }
    }
}

/// Which CPUs have been started, or left out: all below this number.
#[derive(Debug)]
pub(crate) struct Started {
    next: AtomicU32,
    /// Somebody starts them.
    is_at_it: AtomicBool,
}

impl Started {
    pub const fn new() -> Self {
        Self { next: AtomicU32::new(0), is_at_it: AtomicBool::new(false) }
    }

    /// The boot CPU, number 0, has been.
    pub fn begin(&self) {
        self.next.store(1, Ordering::Relaxed);
    }
}

/// Starts the CPUs that the machine has, or as many as are to run when the app's `main` begins; those that cannot be used are
/// reported and left out. Called by the boot CPU, before there are threads, with interrupts off.
pub(crate) fn start_at_boot<S: System>() {
    start_below::<S>(S::kernel().settings.max_cpus() as u32);
    let cpus = S::Platform::cpus();
    if cpus > MAX_CPUS as u32 {
        console::print::<S>(format_args!(
            "ebbtide: CPUs from {MAX_CPUS} on are left out: the machine has {cpus}, and {MAX_CPUS} can be used\n"
        ));
    }
}

/// Starts the CPUs that have not been: at boot not all were to run (`ebbtide.maxcpus`, as Linux has it). Those that cannot be used
/// are reported and left out. Called by a thread; returns when all that run have joined.
pub fn start_the_others<S: System>() {
    let started = &S::kernel().started;
    while started.is_at_it.swap(true, Ordering::Acquire) {
        // It may be of a lower priority.
        thread::sleep::<S>(Duration::from_millis(1));
    }
    start_below::<S>(MAX_CPUS as u32);
    started.is_at_it.store(false, Ordering::Release);
}

/// Starts those with smaller numbers than this that have not been. One caller at a time.
fn start_below<S: System>(limit: u32) {
    let next = &S::kernel().started.next;
    let end = limit.min(S::Platform::cpus());
    while next.load(Ordering::Relaxed) < end {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = start_one::<S>(number) {
            console::print::<S>(format_args!("ebbtide: CPU {number} is left out: {why}\n"));
        }
    }
}

fn start_one<S: System>(number: u32) -> Result<(), LeftOut> {
    let cpu = new_per_cpu(number).ok_or(LeftOut::NoMemory(start::no_memory::<S>()))?;
    start_with::<S>(cpu)
}

/// Starts a CPU with this data, which nobody uses yet.
///
/// # Errors
///
/// Why it is left out.
pub fn start_with<S: System>(cpu: &'static PerCpu) -> Result<(), LeftOut> {
    prepare_cpu::<S>(cpu).map_err(LeftOut::NoMemory)?;
    cpu.presence.shootdowns.store(shootdowns::<S>(Shootdown::ended), Ordering::Relaxed);
    S::Platform::start_cpu::<S>(cpu, start::middle_of_idle_stack(cpu)).map_err(LeftOut::NotStarted)?;
    let deadline = S::Platform::now() + PATIENCE_NS;
    loop {
        match cpu.presence.get() {
            JOINED => return Ok(()),
            FAILED => return Err(LeftOut::Lacks),
            // Unless it comes up at this moment.
            _ if S::Platform::now() >= deadline && cpu.presence.become_if_prepared(ABANDONED) => {
                return Err(LeftOut::Silent);
            }
            _ => S::Arch::relax(),
        }
    }
}

/// How many shootdowns of stack pages all CPUs have begun, or ended.
fn shootdowns<S: System>(count: fn(&Shootdown) -> u64) -> u64 {
    S::kernel().cpus().map(|cpu| count(&cpu.shootdown)).sum()
}

/// Data for another CPU; it lives as long as the kernel.
fn new_per_cpu(number: u32) -> Option<&'static PerCpu> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).ok()?;
    place.push(PerCpu::new(number));
    place.leak().first()
}

/// A secondary CPU has come up: it joins the others and runs its idle thread.
///
/// # Safety
///
/// Called once on each CPU that [`Platform::start_cpu`] has started, on the stack that it was given, with interrupts off, the
/// kernel's tables loaded and [`Cpu::set_per_cpu`] done for `cpu`.
#[expect(unsafe_code, reason = "a promise of the platform's")]
pub unsafe fn enter<S: System>(cpu: &'static PerCpu) -> ! {
    let lacks = S::Platform::init_cpu::<S>().is_err();
    if !cpu.presence.become_if_prepared(if lacks { FAILED } else { COMING }) || lacks {
        S::Arch::halt();
    }
    audit::race::<S>();
    S::kernel().join(cpu);
    fence(Ordering::SeqCst);
    // Those that have begun: who has read who joins before this one did may still be waiting for others.
    let before = cpu.presence.shootdowns_meanwhile();
    cpu.presence.shootdowns.store(shootdowns::<S>(Shootdown::begun) - before, Ordering::Relaxed);
    S::Arch::invalidate_all_local();
    // Somebody may be looking at the whole machine, who did not know of this CPU.
    audit::stand_still::<S>(cpu);
    cpu.presence.set_joined();
    start::run_idle::<S>(cpu)
}
