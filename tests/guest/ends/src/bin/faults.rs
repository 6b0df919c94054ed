//! Accesses that no page table allows, each named by a word.
#![expect(unsafe_code, reason = "breaks the rules on purpose")]
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;
use core::hint::black_box;
use core::ptr;

use ebbtide::thread;
use ebbtide_ends::word;

ebbtide::main!(main);

/// Where nothing lies: between the halves of the address space's upper one.
const NOWHERE: usize = 0xffff_c000_0000_0000;

/// Where the first byte of memory lies in the direct map.
const DIRECT_MAP: usize = 0xffff_8000_0000_0000;

/// `ret`.
const CODE: [u8; 16] = [0xc3; 16];

/// In `.rodata`.
static CONSTANT: [u64; 4] = [1, 2, 3, 4];

/// In `.data.rel.ro`: the loader relocates it, nobody writes it after that.
static RELOCATED: [fn(); 2] = [nothing, nothing];

fn nothing() {}

fn main() -> Result<(), String> {
    match &*word(1) {
        "null-read" => read(8),
        "null-write" => write(0),
        // A function is never at 0, so in the page from there.
        "null-execute" => execute(8),
        "nowhere-read" => read(NOWHERE),
        "non-canonical" => read(0x8000_0000_0000_0000),
        "text-write" => write(main as fn() -> _ as usize),
        "text-write-by-direct-map" => write(DIRECT_MAP + main as fn() -> _ as usize),
        "rodata-write" => write((&raw const CONSTANT).addr()),
        "rodata-execute" => execute((&raw const CONSTANT).addr()),
        "relocated-write" => write((&raw const RELOCATED).addr()),
        "heap-execute" => execute(Box::leak(Box::new(black_box(CODE))).as_ptr().addr()),
        "stack-execute" => execute(black_box(&CODE.map(black_box)).as_ptr().addr()),
        // Somewhere in the first MiBs, where there is RAM.
        "direct-map-execute" => execute(DIRECT_MAP + (1 << 20)),
        "thread" => {
            thread::Builder::new().name("reckless".into()).spawn(|| read(16)).expect("there is memory").join().unwrap()
        }
        other => return Err(other.into()),
    }
    Ok(())
}

#[inline(never)]
fn read(address: usize) {
    let pointer = ptr::with_exposed_provenance::<u8>(black_box(address));
    // SAFETY: none: it ends the run.
    black_box(unsafe { pointer.read_volatile() });
}

#[inline(never)]
fn write(address: usize) {
    let pointer = ptr::with_exposed_provenance_mut::<u8>(black_box(address));
    // SAFETY: none: it ends the run.
    unsafe { pointer.write_volatile(0xc3) };
}

#[inline(never)]
fn execute(address: usize) {
    let pointer = ptr::with_exposed_provenance::<()>(black_box(address));
    // SAFETY: none: it ends the run. The two have one size.
    let code: extern "C" fn() = unsafe { core::mem::transmute(pointer) };
    code();
}
