//! Accesses that no page table allows, each named by a word.
#![expect(unsafe_code, reason = "breaks the rules on purpose")]

use alloc::boxed::Box;
use alloc::string::String;
use core::hint::black_box;
use core::ptr;
use core::sync::atomic::AtomicU64;

use ebbtide::{provoke, thread};

use crate::word;

/// Where nothing lies: between the halves of the address space's upper one.
const NOWHERE: usize = 0xffff_c000_0000_0000;

/// Where the first byte of memory lies in the direct map.
const DIRECT_MAP: usize = 0xffff_8000_0000_0000;

/// What nobody gets to execute.
const CODE: [u8; 16] = [0; 16];

/// In `.data`, which the direct map has as well.
static DATA: AtomicU64 = AtomicU64::new(1);

/// In `.rodata`.
static CONSTANT: [u64; 4] = [1, 2, 3, 4];

/// In `.data.rel.ro`: the loader relocates it, nobody writes it after that.
static RELOCATED: [fn(); 2] = [nothing, nothing];

fn nothing() {}

#[repr(align(4096))]
struct Page([u8; 4096]);

pub fn main() -> Result<(), String> {
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
        "direct-map-execute" => execute(DIRECT_MAP + (&raw const DATA).addr()),
        // One page of the heap, for itself: the kernel keeps out of what is the user's, where the CPU can see to that.
        "user-page-read" => {
            let page = Box::leak(Box::new(Page([1; 4096]))).0.as_ptr().addr();
            read(page);
            provoke::give_to_user(page);
            read(page);
        }
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
