//! The state of a running kernel that is not any CPU's own.
#![expect(unsafe_code, reason = "a promise about page tables")]

use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

use memory_addresses::{PhysAddr, VirtAddr};

use crate::audit;
use crate::cpu::{MAX_CPUS, PerCpu, from_pointer};
use crate::memory::admission::Claims;
use crate::memory::window::Window;
use crate::memory::{FrameAllocator, FrameCounts};
use crate::secondary::Started;
use crate::settings::Settings;
use crate::stack::{Stack, StackRange};
use crate::stop::Stop;
use crate::sync::SpinLock;
use crate::system::System;
use crate::thread::reclaimer::Reclaimer;
use crate::thread::{Placement, StackWait};

/// Frames by use, beside the free ones: invariant 4 (frames are conserved) is checked against these.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Page tables, those of the stack range included.
    pub tables: Count,
    /// The heap.
    pub heap: Count,
    /// Memory of threads that run in user mode.
    pub user: Count,
    /// Emergency pages of stacks, and what is set by for them.
    pub emergency: Count,
}

/// A count that several CPUs may change.
#[derive(Debug, Default)]
pub struct Count(AtomicUsize);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` off.
    pub fn sub(&self, n: usize) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The count now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }
}

/// What all CPUs share.
#[derive(Debug)]
pub struct Kernel {
    /// Free frames.
    pub frames: SpinLock<FrameAllocator>,
    /// Frames by use.
    pub accounts: Accounts,
    /// Frames that are promised to stacks, if admission is strict.
    pub(crate) claims: Claims,
    /// The range of the kernel stacks.
    pub stacks: StackRange,
    /// Threads that wait for frames for their stacks.
    pub stack_wait: StackWait,
    /// Who sweeps the stacks of threads that sleep, under policies that have one.
    pub reclaimer: Reclaimer,
    /// Which CPUs have nothing to do.
    pub(crate) placement: Placement,
    /// Held while a thread goes to a temporary stack or comes back, and while others look at the stacks that it has left.
    pub(crate) left_stacks: SpinLock<()>,
    /// What the command line chose.
    pub settings: Settings,
    window: AtomicU64,
    /// What an `audit` build keeps.
    pub(crate) audit: audit::State,
    /// How an `audit` build makes all CPUs but one stand still.
    pub(crate) gathering: audit::Gathering,
    /// Guards the making of page tables.
    pub(crate) table_lock: SpinLock<()>,
    /// The CPUs that run, by number.
    pub(crate) cpus: [AtomicPtr<PerCpu>; MAX_CPUS],
    /// Which CPUs have been started.
    pub(crate) started: Started,
    /// Who ends the run.
    pub(crate) stop: Stop,
    /// The app's threads that were spawned and have not exited.
    pub live_threads: AtomicUsize,
    pub(crate) next_thread: AtomicU64,
    root: AtomicU64,
    counter_at_start: AtomicU64,
    image_base: AtomicU64,
    boot_stack: [AtomicU64; 2],
    stack_reserve: AtomicUsize,
    last_frames: AtomicUsize,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// Creates a kernel that has not begun. It is all zeros, so that an image does not hold it: what begins with anything else gets
    /// that when it begins.
    pub const fn new() -> Self {
        Self {
            frames: SpinLock::new(FrameAllocator::new(Window::IDENTITY)),
            accounts: Accounts {
                tables: Count::new(),
                heap: Count::new(),
                user: Count::new(),
                emergency: Count::new(),
            },
            claims: Claims::new(),
            stacks: StackRange::new(),
            stack_wait: StackWait::new(),
            reclaimer: Reclaimer::new(),
            placement: Placement::new(),
            left_stacks: SpinLock::new(()),
            settings: Settings::unset(),
            window: AtomicU64::new(0),
            audit: audit::State::new(),
            gathering: audit::Gathering::new(),
            table_lock: SpinLock::new(()),
            cpus: [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS],
            started: Started::new(),
            stop: Stop::new(),
            live_threads: AtomicUsize::new(0),
            next_thread: AtomicU64::new(0),
            root: AtomicU64::new(0),
            counter_at_start: AtomicU64::new(0),
            image_base: AtomicU64::new(0),
            boot_stack: [const { AtomicU64::new(0) }; 2],
            stack_reserve: AtomicUsize::new(0),
            last_frames: AtomicUsize::new(0),
        }
    }

    /// Begins: the settings are the defaults, and physical memory is reached through `window`; the frame allocator is told when it
    /// gets its first frames. Called once, before anything else.
    pub(crate) fn begin(&self, window: Window) {
        self.window.store(window.address(PhysAddr::zero()).as_u64(), Ordering::Relaxed);
        self.settings.set_defaults();
        self.next_thread.store(1, Ordering::Relaxed);
        self.started.begin();
    }

    /// Creates a kernel that has begun: on the host, where nobody takes a machine over.
    pub fn begun(window: Window) -> Self {
        let mut kernel = Self::new();
        kernel.frames = SpinLock::new(FrameAllocator::new(window));
        kernel.begin(window);
        kernel
    }

    /// Creates one whose page tables are there already, too.
    ///
    /// # Safety
    ///
    /// `root` is a root table of the system's architecture, and lies in `window`.
    pub unsafe fn with_root(window: Window, root: PhysAddr) -> Self {
        let kernel = Self::begun(window);
        kernel.set_root(root);
        kernel
    }

    /// Where physical memory can be touched.
    pub fn window(&self) -> Window {
        Window::new(VirtAddr::new(self.window.load(Ordering::Relaxed)))
    }

    /// The root of the kernel's page tables.
    pub fn root(&self) -> PhysAddr {
        PhysAddr::new(self.root.load(Ordering::Relaxed))
    }

    pub(crate) fn set_root(&self, root: PhysAddr) {
        self.root.store(root.as_u64(), Ordering::Relaxed);
    }

    /// The cycle counter at the loader's first instruction, or at the kernel's when the loader did not note it.
    pub fn counter_at_start(&self) -> u64 {
        self.counter_at_start.load(Ordering::Relaxed)
    }

    pub(crate) fn set_counter_at_start(&self, counter: u64) {
        self.counter_at_start.store(counter, Ordering::Relaxed);
    }

    /// Where the image lies: what a backtrace's addresses are relative to.
    pub fn image_base(&self) -> u64 {
        self.image_base.load(Ordering::Relaxed)
    }

    pub(crate) fn set_image_base(&self, base: PhysAddr) {
        self.image_base.store(base.as_u64(), Ordering::Relaxed);
    }

    pub(crate) fn set_boot_stack(&self, stack: Range<VirtAddr>) {
        self.boot_stack[0].store(stack.start.as_u64(), Ordering::Relaxed);
        self.boot_stack[1].store(stack.end.as_u64(), Ordering::Relaxed);
    }

    /// The boot stack, without the guard page right below it.
    pub(crate) fn boot_stack(&self) -> Range<VirtAddr> {
        let [start, end] = &self.boot_stack;
        VirtAddr::new(start.load(Ordering::Relaxed))..VirtAddr::new(end.load(Ordering::Relaxed))
    }

    /// Where the frames are, if the allocator's lock is free: for reports.
    pub(crate) fn frame_counts_now<S: System>(&self) -> FrameCounts {
        self.frames.try_with::<S, _>(|frames| frames.counts()).unwrap_or_default()
    }

    /// Frames that an idle CPU keeps for the next switch: the most that any thread may lack.
    pub(crate) fn stack_reserve(&self) -> usize {
        self.stack_reserve.load(Ordering::Relaxed)
    }

    /// The last frames, which the heap does not get: what each CPU keeps in reserve, and the largest stack.
    pub(crate) fn last_frames(&self) -> usize {
        self.last_frames.load(Ordering::Relaxed)
    }

    /// Raises them to what there is now: neither CPUs nor what a thread may lack become less.
    fn raise_last_frames(&self) {
        // With whoever raises the other of the two: one of both sees both.
        fence(Ordering::SeqCst);
        let reserve = self.stack_reserve();
        self.last_frames.fetch_max(reserve * self.cpus().count() + reserve + 1, Ordering::Relaxed);
    }

    /// Raises the reserve to what a thread with this stack may lack.
    pub(crate) fn note_reserve(&self, stack: &Stack) {
        if !stack.is_pinned() {
            let lacks = stack.pages() - 1;
            if self.stack_reserve.fetch_max(lacks, Ordering::Relaxed) < lacks {
                self.raise_last_frames();
            }
        }
    }

    /// From now on `cpu` is one of the CPUs that run.
    pub(crate) fn join(&self, cpu: &'static PerCpu) {
        self.cpus[cpu.number as usize].store(core::ptr::from_ref(cpu).cast_mut(), Ordering::Release);
        self.raise_last_frames();
    }

    /// The CPUs that run.
    pub fn cpus(&self) -> impl Iterator<Item = &'static PerCpu> {
        self.cpus.iter().filter_map(|cpu| from_pointer(cpu.load(Ordering::Acquire)))
    }
}
