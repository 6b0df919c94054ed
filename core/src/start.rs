//! The boot of the kernel, from a loader's hand-over to the app's `main`.
#![expect(unsafe_code, reason = "takes the machine over")]

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;
use core::ops::Range;

use memory_addresses::VirtAddr;

use crate::arch::{Arch, Cpu, PAGE_BYTES, Traps};
use crate::audit;
use crate::boot::BootInfo;
use crate::console;
use crate::cpu::PerCpu;
use crate::logger::Logger;
use crate::memory::space::{self, Segments};
use crate::memory::window::Window;
use crate::platform::Platform;
use crate::report;
use crate::secondary;
use crate::stack::emergency::set_by;
use crate::stack::{Pages, StackError, StackPolicy};
use crate::system::System;
use crate::thread::{self, CpuSet, Kind, Priority, Request, Thread, Work, reclaimer};

/// Bytes of stack of the main thread: what is left to the policy at most.
pub const MAIN_STACK_BYTES: u64 = 64 << 10;

/// Bytes of stack of an idle thread.
const IDLE_STACK_BYTES: u64 = 16 << 10;

/// Least memory that the kernel boots with, in frames.
const LEAST_FRAMES: usize = 512;

/// Boots the kernel and runs `main` in the main thread. `stack` is the boot stack, with its guard page below.
///
/// # Safety
///
/// Called once, on the boot CPU, on the boot stack, with interrupts off, the loader's page tables active, and
/// [`Cpu::set_per_cpu`] done; `boot`, `segments` and `stack` are true.
pub unsafe fn start<S: System>(boot: &'static BootInfo, segments: &Segments, stack: Range<VirtAddr>, main: Main) -> ! {
    let kernel = S::kernel();
    kernel.begin(Window::DIRECT);
    kernel.set_boot_stack(stack);
    kernel.set_image_base(boot.image.start);
    kernel.set_counter_at_start(boot.counter_at_start.unwrap_or_else(S::Arch::counter));
    if let Err(wrong) = kernel.settings.read::<S::Policy>(&boot.command_line, S::AUDIT) {
        report::refuse::<S>(wrong);
    }
    let memory: u64 = boot.memory.iter().map(|region| region.end - region.start).sum();
    // SAFETY: by this function's own contract.
    if unsafe { space::init::<S>(boot, segments) }.is_err() {
        too_little_memory::<S>(memory);
    }
    if kernel.frames.with::<S, _>(|frames| frames.counts().free) < LEAST_FRAMES {
        too_little_memory::<S>(memory);
    }
    if let Err(lack) = S::Platform::init::<S>() {
        report::refuse::<S>(lack);
    }
    Logger::<S>::install();
    log_memory::<S>(boot);
    let end = boot.memory.iter().map(|region| region.end.as_u64()).max().unwrap_or(0);
    audit::prepare::<S>((end / PAGE_BYTES) as usize, &boot.command_line);
    let cpu = S::Arch::per_cpu();
    match prepare_boot_cpu::<S>(cpu).and_then(|()| main_thread::<S>(main)) {
        Ok(main) => {
            secondary::start_at_boot::<S>();
            banner::<S>(memory);
            thread::first::<S>(cpu, main)
        }
        Err(error) => report::refuse::<S>(error),
    }
}

/// What the main thread runs.
pub type Main = fn();

/// Gives the boot CPU what it needs to run threads. It is the first of the kernel's CPUs.
///
/// # Errors
///
/// There is no memory for a stack.
pub fn prepare_boot_cpu<S: System>(cpu: &'static PerCpu) -> Result<(), StackError> {
    S::kernel().join(cpu);
    prepare_cpu::<S>(cpu)?;
    reclaimer::prepare::<S>()
}

/// Gives a CPU what it needs to run threads: stacks for its traps, and its idle thread.
///
/// # Errors
///
/// There is no memory for a stack.
pub fn prepare_cpu<S: System>(cpu: &'static PerCpu) -> Result<(), StackError> {
    S::Arch::set_trap_stacks::<S>(cpu, &mut |name, bytes| {
        let request = system(name, bytes);
        thread::create_without_work::<S>(request).map(thread::stack_top)
    })?;
    let idle: Work = if S::AUDIT {
        Box::new(|| audit::first::<S, _, _>(thread::idle::<S>))
    } else {
        Box::new(|| thread::idle::<S>())
    };
    let idle = thread::create::<S>(Request { priority: Priority::MIN, ..system("idle", IDLE_STACK_BYTES) }, idle)?;
    cpu.set_idle(idle);
    set_by::<S>(cpu);
    Ok(())
}

/// Leaves the boot stack of the boot CPU, which was prepared, for the main thread, which runs `main`.
///
/// # Errors
///
/// There is no memory for its stack.
pub fn run_main<S: System>(cpu: &'static PerCpu, main: Main) -> Result<Infallible, StackError> {
    main_thread::<S>(main).map(|main| thread::first::<S>(cpu, main))
}

/// Where a secondary CPU's stack begins until it runs its idle thread: in the middle of that thread's stack, whose first
/// activation record is at the top.
pub(crate) fn middle_of_idle_stack(cpu: &'static PerCpu) -> VirtAddr {
    VirtAddr::new(thread::stack_top(cpu.idle()).as_u64() - IDLE_STACK_BYTES / 2)
}

/// There is no memory for what a CPU needs.
pub(crate) fn no_memory<S: System>() -> StackError {
    StackError::NoFrame { free: S::kernel().frame_counts_now::<S>().free }
}

/// Leaves the boot stack of another CPU, which was prepared, for its idle thread.
pub(crate) fn run_idle<S: System>(cpu: &'static PerCpu) -> ! {
    thread::first::<S>(cpu, cpu.idle())
}

fn main_thread<S: System>(main: Main) -> Result<&'static Thread, StackError> {
    let request = Request {
        name: Some("main".to_string().into_boxed_str()),
        kind: Kind::App,
        priority: Priority::NORMAL,
        stack_bytes: MAIN_STACK_BYTES,
        pages: Pages::OfKernelThread,
        affinity: CpuSet::ALL,
        heap: Vec::new(),
    };
    let work: Work = if S::AUDIT {
        Box::new(move || {
            if let Err(error) = audit::begin_top::<S>() {
                panic!("there is no memory to look at the machine as `ebbtide.top` asks: {error}");
            }
            audit::faults::begin::<S>();
            audit::begins::<S>(|| audit::Way::Thread(main as usize as u64));
            main();
        })
    } else {
        Box::new(main)
    };
    thread::create::<S>(request, work)
}

/// A thread of the kernel's own.
pub(crate) fn system(name: &str, stack_bytes: u64) -> Request {
    Request {
        name: Some(name.to_string().into_boxed_str()),
        kind: Kind::System,
        priority: Priority::MAX,
        stack_bytes,
        pages: Pages::Always,
        affinity: CpuSet::ALL,
        heap: Vec::new(),
    }
}

fn banner<S: System>(memory_bytes: u64) {
    console::print::<S>(format_args!(
        "Ebbtide {} on {}: {}{} MiB, policy {}\n",
        env!("CARGO_PKG_VERSION"),
        S::Arch::NAME,
        Others(S::kernel().cpus().count()),
        memory_bytes.div_ceil(1 << 20),
        S::Policy::NAME,
    ));
}

/// The number of CPUs, if there are others than the one that boots.
struct Others(usize);

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, "{} CPUs, ", self.0) } else { Ok(()) }
    }
}

/// What the boot came to, for who asks.
fn log_memory<S: System>(boot: &BootInfo) {
    let counts = S::kernel().frame_counts_now::<S>();
    log::info!("{} of {} KiB are free", 4 * counts.free, 4 * counts.total);
    let frames = S::kernel().settings.cache();
    log::debug!("image at {:#x}..{:#x}, stack cache of {frames} frames", boot.image.start, boot.image.end);
}

fn too_little_memory<S: System>(bytes: u64) -> ! {
    report::refuse::<S>(format_args!(
        "{} KiB of memory are too little; give the machine at least 8 MiB (`--memory 8M`)",
        bytes >> 10
    ));
}
