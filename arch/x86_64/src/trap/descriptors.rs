//! GDT, TSS and IDT, and the stacks that the IST names.
#![expect(unsafe_code, reason = "tables that the CPU reads")]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use ebbtide_core::arch::{Cpu, Traps};
use ebbtide_core::cpu::{MAX_CPUS, PerCpu};
use ebbtide_core::stack::StackError;
use ebbtide_core::{System, VirtAddr};
use static_assertions::const_assert;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{Entry, HandlerFunc, InterruptDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

use super::dispatch::Pushed;
use super::entry::{Header, smap_places, stub};
use crate::{X86_64, user};

/// The trap stacks of a CPU: name and bytes, in the order of the IST. Any may have to make a report, even of a panic in its
/// handler, which takes more than 8 KiB in a dev image.
pub(crate) const TRAP_STACKS: [(&str, u64); 7] = [
    ("trap stack of interrupts", 16 << 10),
    ("trap stack of exceptions", 16 << 10),
    ("trap stack of #PF", 16 << 10),
    ("trap stack of #DB", 16 << 10),
    ("trap stack of NMI", 16 << 10),
    ("trap stack of #MC", 16 << 10),
    ("trap stack of #DF", 16 << 10),
];

const INTERRUPTS: u16 = 0;
const EXCEPTIONS: u16 = 1;
const DOUBLE_FAULT: usize = 6;

/// Which trap stack an exception has.
const fn stack_of(vector: usize) -> u16 {
    match vector {
        14 => 2,
        1 => 3,
        2 => 4,
        18 => 5,
        8 => 6,
        0..32 => EXCEPTIONS,
        _ => INTERRUPTS,
    }
}

/// The tables that each CPU has for itself.
struct Tables {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
}

impl Tables {
    const fn empty() -> Self {
        Self { gdt: GlobalDescriptorTable::empty(), tss: TaskStateSegment::new() }
    }
}

/// Not initialised before their CPU needs them, so that they take no room in the image.
struct AllTables {
    /// By the CPU's number.
    own: UnsafeCell<MaybeUninit<[Tables; MAX_CPUS]>>,
    /// All CPUs have the same gates.
    idt: UnsafeCell<MaybeUninit<Gates>>,
}

/// An IDT is 256 entries of 16 bytes, whatever the types of its fields say.
type Gates = [Entry<HandlerFunc>; 256];

const_assert!(size_of::<Gates>() == size_of::<InterruptDescriptorTable>());

// SAFETY: the IDT is written by the boot CPU alone, in `init`. A CPU's own tables are written in `set_trap_stacks`, which the
// boot CPU calls while the other is off (or for itself, with interrupts off), and then by that CPU alone.
unsafe impl Sync for AllTables {}

static TABLES: AllTables =
    AllTables { own: UnsafeCell::new(MaybeUninit::uninit()), idt: UnsafeCell::new(MaybeUninit::uninit()) };

/// The own tables of the CPU of this number.
fn tables_of(number: u32) -> *mut Tables {
    assert!((number as usize) < MAX_CPUS);
    TABLES.own.get().cast::<Tables>().wrapping_add(number as usize)
}

/// The stack that all traps share until each has its own.
#[repr(C, align(16))]
struct FirstStack(UnsafeCell<[u8; 8 << 10]>);

// SAFETY: only the CPU that boots uses it, as a stack; no reference into it is ever made.
unsafe impl Sync for FirstStack {}

static FIRST_STACK: FirstStack = FirstStack(UnsafeCell::new([0; 8 << 10]));

/// Loads the boot CPU's tables. Until [`Traps::set_trap_stacks`] every trap runs on one small stack.
///
/// # Safety
///
/// Called once, on the boot CPU, with interrupts off; with `smap`, the image can still be written.
pub(crate) unsafe fn init<S: System>(cpu: &'static PerCpu, smap: bool) {
    if smap {
        for (place, instruction) in smap_places::<S>().into_iter().chain(user::smap_places()) {
            // SAFETY: three bytes of `nop` stand there, and nobody runs them yet.
            unsafe { place.cast::<[u8; 3]>().write_volatile(instruction) };
        }
    }
    let top = VirtAddr::from_ptr(FIRST_STACK.0.get().wrapping_add(1));
    // SAFETY: the stack is static and nobody uses it.
    let top = unsafe { write_header(top, below_what_is_pushed(top.as_u64() - size_of::<Header>() as u64), cpu) };
    // SAFETY: this is the boot CPU, once; nobody else refers to the tables.
    let tables = unsafe { write_tables(cpu) };
    tables.tss.interrupt_stack_table = [top; TRAP_STACKS.len()];
    // SAFETY: as above, and it is not loaded yet.
    fill_idt::<S>(unsafe { &mut *TABLES.idt.get() });
    // SAFETY: the tables are filled; this is the boot CPU, once.
    unsafe { load(tables) };
}

/// Loads the tables of another CPU, whose trap stacks were set.
///
/// # Safety
///
/// Called once, on that CPU, with interrupts off.
pub(crate) unsafe fn init_secondary(cpu: &'static PerCpu) {
    // SAFETY: the boot CPU filled the TSS before it started this one, and nobody else refers to the tables since.
    let tables = unsafe { &mut *tables_of(cpu.number) };
    // SAFETY: the trap stacks are set, and the IDT was filled when the boot CPU loaded it.
    unsafe { load(tables) };
}

/// Writes a CPU's own tables, which are empty then.
///
/// # Safety
///
/// That CPU has not loaded them, and nobody else refers to them.
unsafe fn write_tables(cpu: &PerCpu) -> &'static mut Tables {
    let tables = tables_of(cpu.number);
    // SAFETY: the place is static, and by the caller's word nobody's.
    unsafe { tables.write(Tables::empty()) };
    // SAFETY: as above, and now it is initialised.
    unsafe { &mut *tables }
}

fn fill_idt<S: System>(idt: &mut MaybeUninit<Gates>) {
    let first = idt.as_mut_ptr().cast::<Entry<HandlerFunc>>();
    for vector in 0..size_of::<Gates>() / size_of::<Entry<HandlerFunc>>() {
        let mut gate = Entry::missing();
        let address = x86_64::VirtAddr::new(stub::<S>(vector));
        // SAFETY: the stub is entered as the CPU enters a handler.
        let options = unsafe { gate.set_handler_addr(address) };
        // SAFETY: every IST entry names a trap stack.
        unsafe { options.set_stack_index(stack_of(vector)) };
        // SAFETY: the kernel's code segment.
        unsafe { options.set_code_selector(user::KERNEL_CODE) };
        // SAFETY: the vector is below 256.
        unsafe { first.wrapping_add(vector).write(gate) };
    }
}

/// Makes the CPU use its tables and the IDT.
///
/// # Safety
///
/// Called once on each CPU, with its own tables; the stacks in the TSS are set, and the IDT is filled.
unsafe fn load(tables: &mut Tables) {
    let code = tables.gdt.append(Descriptor::kernel_code_segment());
    assert!(code == user::KERNEL_CODE);
    // What `syscall` and `sysretq` load, in their order.
    for segment in [Descriptor::kernel_data_segment(), Descriptor::user_data_segment(), Descriptor::user_code_segment()]
    {
        tables.gdt.append(segment);
    }
    // SAFETY: the TSS is static, as the GDT is.
    let tss = tables.gdt.append(unsafe { Descriptor::tss_segment_unchecked(&raw const tables.tss) });
    // SAFETY: the GDT is static, and the segments that the CPU uses are replaced right below.
    unsafe { tables.gdt.load_unsafe() };
    // SAFETY: the segment was just made.
    unsafe { CS::set_reg(code) };
    for set in [SS::set_reg, DS::set_reg, ES::set_reg] {
        // SAFETY: the null segment serves as data segment in 64-bit mode.
        unsafe { set(SegmentSelector::NULL) };
    }
    // SAFETY: the segment was just made.
    unsafe { load_tss(tss) };
    // SAFETY: nobody writes it any more.
    let idt = unsafe { &*TABLES.idt.get().cast::<InterruptDescriptorTable>() };
    // SAFETY: the IDT is static, and every entry is a stub.
    unsafe { idt.load_unsafe() };
}

/// Where a nested trap is reported from when there is no other stack: below what the CPU and the stub have pushed.
const fn below_what_is_pushed(ist_pointer: u64) -> u64 {
    ist_pointer - (size_of::<Pushed>() as u64).next_multiple_of(16)
}

/// Writes a trap stack's header below its top, and returns the IST pointer.
///
/// # Safety
///
/// The stack below `top` is nobody's.
unsafe fn write_header(top: VirtAddr, emergency: u64, cpu: &'static PerCpu) -> x86_64::VirtAddr {
    let header = VirtAddr::new(top.as_u64() - size_of::<Header>() as u64);
    let per_cpu = core::ptr::from_ref(cpu) as u64;
    // SAFETY: the caller gives a stack that nobody uses.
    unsafe { header.as_mut_ptr::<Header>().write(Header { depth: 0, emergency, per_cpu, reserved: 0 }) };
    x86_64::VirtAddr::new(header.as_u64())
}

impl Traps for X86_64 {
    fn set_trap_stacks<S: System>(
        cpu: &'static PerCpu,
        new_stack: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError> {
        let mut tops = [VirtAddr::new(0); TRAP_STACKS.len()];
        for ((name, bytes), top) in TRAP_STACKS.into_iter().zip(&mut tops) {
            *top = new_stack(name, bytes)?;
        }
        if !core::ptr::eq(cpu, X86_64::per_cpu()) {
            // SAFETY: the CPU is off, and this one alone prepares it.
            unsafe { write_tables(cpu) };
        }
        let report = tops[DOUBLE_FAULT].as_u64() - size_of::<Header>() as u64;
        for (number, top) in tops.into_iter().enumerate() {
            let emergency = if number == DOUBLE_FAULT { below_what_is_pushed(report) } else { report };
            // SAFETY: the stack is new.
            let pointer = unsafe { write_header(top, emergency, cpu) };
            // SAFETY: the CPU is off, or it is this one with interrupts off, so that no trap reads a pointer that is half
            // written; an NMI could, as it could come before this CPU had any table.
            unsafe { set_ist_pointer(cpu, number, pointer) };
        }
        Ok(())
    }
}

/// Sets an entry of a CPU's IST.
///
/// # Safety
///
/// No trap comes there meanwhile; the pointer is what the caller wants the CPU to push to.
unsafe fn set_ist_pointer(cpu: &PerCpu, number: usize, pointer: x86_64::VirtAddr) {
    // SAFETY: nobody has a reference to the tables: they are not loaded yet, or `load` returned.
    let table = unsafe { &raw mut (*tables_of(cpu.number)).tss.interrupt_stack_table };
    // SAFETY: the TSS is packed, so its fields are not aligned; the number is below 7.
    unsafe { table.cast::<x86_64::VirtAddr>().wrapping_add(number).write_unaligned(pointer) };
}

/// The header of a trap stack of this CPU; with `pointer`, breaks the IST's entry. For [`crate::provoke`].
pub(crate) fn provoke_with(number: usize, pointer: Option<u64>) -> *mut Header {
    let cpu = X86_64::per_cpu();
    // SAFETY: nobody has a reference to the tables since `load` returned.
    let table = unsafe { &raw const (*tables_of(cpu.number)).tss.interrupt_stack_table };
    // SAFETY: the TSS is packed, so its fields are not aligned.
    let pointers = unsafe { table.read_unaligned() };
    if let Some(pointer) = pointer {
        // SAFETY: a destructive test, with interrupts off.
        unsafe { set_ist_pointer(cpu, number, x86_64::VirtAddr::new(pointer)) };
    }
    pointers[number].as_u64() as *mut Header
}
