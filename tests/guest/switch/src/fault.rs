//! What it takes to get a page of stack from a fault.
#![expect(unsafe_code, reason = "writes below its stack pointer")]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;

use ebbtide::thread;
use ebbtide::time::counter;
use ebbtide_figures::Mean;

const PAGE: usize = 4096;

/// Threads that fault, each once.
const FAULTS: u64 = 32;

/// The record's keys, each with a space before it: the instructions of a fault for the next page, and of one that goes three pages down.
pub fn keys() -> String {
    format!(" fault_insns={} fault_gap_insns={}", fault(1), fault(3))
}

/// In a thread that has the top page of its stack: from the instruction that faults to the next one, beside those of the same
/// instruction where the page is there.
fn fault(pages: usize) -> Mean {
    let body = move || {
        let here = 0_u8;
        let page = (&raw const *black_box(&here)).addr() & !(PAGE - 1);
        let address = page - pages * PAGE;
        let insns = time(address) - time(address);
        // With its stack, so that the next one gets another, which has one page.
        thread::park();
        insns
    };
    let threads: Vec<_> = (0..FAULTS).map(|_| thread::spawn(body)).collect();
    let end = |thread: thread::JoinHandle<u64>| {
        thread.thread().unpark();
        thread.join().expect("a panic ends the run")
    };
    Mean::new(threads.into_iter().map(end).sum(), FAULTS)
}

/// From before a write to the stack to behind it.
#[inline(never)]
fn time(address: usize) -> u64 {
    let pointer = core::ptr::with_exposed_provenance_mut::<u64>(black_box(address));
    let start = counter();
    // SAFETY: below all that is in use, on this thread's stack.
    unsafe { pointer.write_volatile(1) };
    counter() - start
}
