//! GDT, TSS and IDT, and the stacks that the IST names.
#![expect(unsafe_code, reason = "tables that the CPU reads")]

use core::cell::UnsafeCell;

use ebbtide_core::arch::Traps;
use ebbtide_core::cpu::PerCpu;
use ebbtide_core::stack::StackError;
use ebbtide_core::{System, VirtAddr};
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{Entry, InterruptDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

use super::entry::{CLAC, Header, clac_places, stub};
use crate::X86_64;

/// The trap stacks of a CPU: name and bytes, in the order of the IST. Those on which reports are made are larger.
pub(crate) const TRAP_STACKS: [(&str, u64); 7] = [
    ("trap stack of interrupts", 8 << 10),
    ("trap stack of exceptions", 16 << 10),
    ("trap stack of #PF", 16 << 10),
    ("trap stack of #DB", 8 << 10),
    ("trap stack of NMI", 8 << 10),
    ("trap stack of #MC", 8 << 10),
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

/// The tables of the boot CPU.
struct Tables {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
    idt: InterruptDescriptorTable,
}

struct BootTables(UnsafeCell<Tables>);

// SAFETY: written by the boot CPU alone, in `init` and `set_trap_stacks`, with interrupts off.
unsafe impl Sync for BootTables {}

static BOOT: BootTables = BootTables(UnsafeCell::new(Tables {
    gdt: GlobalDescriptorTable::empty(),
    tss: TaskStateSegment::new(),
    idt: InterruptDescriptorTable::new(),
}));

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
        for place in clac_places::<S>() {
            // SAFETY: three bytes of `nop` stand there, and nobody runs them yet.
            unsafe { place.cast::<[u8; 3]>().write_volatile(CLAC) };
        }
    }
    // SAFETY: this is the boot CPU, once; nobody else refers to the tables.
    let tables = unsafe { &mut *BOOT.0.get() };
    let top = VirtAddr::from_ptr(FIRST_STACK.0.get().wrapping_add(1));
    // SAFETY: the stack is static and nobody uses it.
    let top = unsafe { write_header(top, top.as_u64() - size_of::<Header>() as u64, cpu) };
    tables.tss.interrupt_stack_table = [top; TRAP_STACKS.len()];
    fill_idt::<S>(&mut tables.idt);
    let tables: &'static Tables = tables;
    // SAFETY: the tables are static from here on.
    unsafe { load(tables) };
}

fn fill_idt<S: System>(idt: &mut InterruptDescriptorTable) {
    // SAFETY: an IDT is 256 entries of 16 bytes, whatever the types of its fields say.
    let entries: &mut [Entry<x86_64::structures::idt::HandlerFunc>; 256] =
        unsafe { &mut *core::ptr::from_mut(idt).cast() };
    for (vector, entry) in entries.iter_mut().enumerate() {
        let address = x86_64::VirtAddr::new(stub::<S>(vector));
        // SAFETY: the stub is entered as the CPU enters a handler.
        let options = unsafe { entry.set_handler_addr(address) };
        // SAFETY: every IST entry names a trap stack.
        unsafe { options.set_stack_index(stack_of(vector)) };
        // SAFETY: the kernel's code segment.
        unsafe { options.set_code_selector(SegmentSelector::new(1, x86_64::PrivilegeLevel::Ring0)) };
    }
}

/// Makes the CPU use the tables.
///
/// # Safety
///
/// They are filled, and nobody changes a descriptor or gate any more.
unsafe fn load(tables: &'static Tables) {
    let gdt: *mut GlobalDescriptorTable = &raw const tables.gdt as *mut _;
    // SAFETY: nobody else refers to the GDT, which lies in a cell.
    let gdt: &'static mut GlobalDescriptorTable = unsafe { &mut *gdt };
    let code = gdt.append(Descriptor::kernel_code_segment());
    let tss = gdt.append(Descriptor::tss_segment(&tables.tss));
    gdt.load();
    // SAFETY: the segment was just made.
    unsafe { CS::set_reg(code) };
    for set in [SS::set_reg, DS::set_reg, ES::set_reg] {
        // SAFETY: the null segment serves as data segment in 64-bit mode.
        unsafe { set(SegmentSelector::NULL) };
    }
    // SAFETY: the segment was just made.
    unsafe { load_tss(tss) };
    tables.idt.load();
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
        new_stack: &mut dyn FnMut(&str, u64) -> Result<VirtAddr, StackError>,
    ) -> Result<(), StackError> {
        let cpu = <Self as ebbtide_core::arch::Cpu>::per_cpu();
        let mut tops = [VirtAddr::new(0); TRAP_STACKS.len()];
        for ((name, bytes), top) in TRAP_STACKS.into_iter().zip(&mut tops) {
            *top = new_stack(name, bytes)?;
        }
        let emergency = tops[DOUBLE_FAULT].as_u64() - size_of::<Header>() as u64;
        for (number, top) in tops.into_iter().enumerate() {
            // SAFETY: the stack is new.
            let pointer = unsafe { write_header(top, emergency, cpu) };
            // SAFETY: interrupts are off, and an aligned store of a pointer cannot tear.
            unsafe { (*BOOT.0.get()).tss.interrupt_stack_table[number] = pointer };
        }
        Ok(())
    }
}

/// The pointer to a trap stack's header, and the means to break an IST entry, for [`crate::provoke`].
pub(crate) fn provoke_with(number: usize, pointer: Option<u64>) -> *mut Header {
    // SAFETY: a destructive test of one CPU with interrupts off; nothing else writes the table.
    let table = unsafe { &raw mut (*BOOT.0.get()).tss.interrupt_stack_table };
    // SAFETY: the TSS is packed, so its fields are not aligned.
    let mut pointers = unsafe { table.read_unaligned() };
    let header = pointers[number].as_u64() as *mut Header;
    if let Some(pointer) = pointer {
        pointers[number] = x86_64::VirtAddr::new(pointer);
        // SAFETY: as above.
        unsafe { table.write_unaligned(pointers) };
    }
    header
}
