//! Reads, writes and jumps into every page of the kernel's view, from user mode.
//!
//! The pages are those of the kernel's page tables, large ones whole: their first and their last 4 KiB. What user mode may do with
//! them is what the image's layout says (`layout.rs`), not what the user's view does: text may be read and jumped into, constants
//! read, nothing written. All else must end the thread that tries it, by a page fault at that address, and the numbers are to be
//! equal. A thread that is there all the time has its kernel stack among these pages; its own memory in user mode is not.
//!
//! A page that appears while others are tried, such as one of the heap's, is found by the next walk; the last finds none.
//!
//! Nothing is broken by an access that gets through: a write sets no bit, and a jump into text goes to an
//! instruction that returns, or to one that raises an exception.
#![expect(unsafe_code, reason = "accesses what it must not")]
#![no_std]
#![no_main]

extern crate alloc;

mod layout;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use ebbtide::time::Instant;
use ebbtide::user::{self, Ended, Reason};
use ebbtide::{println, provoke};

use crate::layout::{Granted, Layout};

ebbtide::main!(main);

/// Bytes of a small page.
pub const PAGE_BYTES: u64 = 4096;

/// Addresses of user mode's own memory.
const USER: Range<u64> = 0x0000_4000_0000_0000..0x0000_4080_0000_0000;

/// More walks than this, and new pages do not come to an end.
const MOST_WALKS: u32 = 10;

/// Failures that are told one by one.
const MOST_TOLD: usize = 20;

/// The name of one kind of access.
const JUMP: &str = "jump";

/// In `.bss`.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// An access by one kind of instruction.
struct Kind {
    name: &'static str,
    access: fn(u64) -> u64,
    /// How a report names it. A write may have to read first.
    told: &'static [&'static str],
    tried: u64,
    /// Ended by a page fault, of this kind and at this address.
    faulted: u64,
    /// Had to.
    to_fault: u64,
    /// Was granted, and came to an exception of the instruction that it went to.
    trapped: u64,
}

impl Kind {
    const fn new(name: &'static str, access: fn(u64) -> u64, told: &'static [&'static str]) -> Self {
        Self { name, access, told, tried: 0, faulted: 0, to_fault: 0, trapped: 0 }
    }

    /// Tries one page; what is wrong with the answer.
    fn try_at(&mut self, address: u64, granted: bool) -> Result<(), String> {
        self.tried += 1;
        self.to_fault += u64::from(!granted);
        let end = attempt(self.access, address)?;
        let faulted = end.as_ref().is_err_and(|end| end.reason == Reason::Fault && self.is_told(&end.message, address));
        self.faulted += u64::from(faulted);
        match end {
            Err(_) if faulted && !granted => Ok(()),
            Ok(_) if granted => Ok(()),
            Err(end) if granted && !faulted && self.name == JUMP && end.reason == Reason::Fault => {
                self.trapped += 1;
                Ok(())
            }
            Ok(_) => Err(format!("a {} at {address:#x} got through", self.name)),
            Err(end) => Err(format!("a {} at {address:#x}: {end}", self.name)),
        }
    }

    /// Says whether the report is about this access.
    fn is_told(&self, message: &str, address: u64) -> bool {
        self.told.iter().any(|kind| message.starts_with(&format!("page fault ({kind}, ")))
            && message.ends_with(&format!(" at address {address:#x}"))
    }
}

/// Runs an access in a thread of user mode of its own.
fn attempt(access: fn(u64) -> u64, address: u64) -> Result<Result<u64, Ended>, String> {
    let thread = user::Builder::new().user_stack_size(8 << 10).spawn(access, address);
    Ok(thread.map_err(|error| format!("spawning in user mode: {error}"))?.join())
}

fn read(address: u64) -> u64 {
    // SAFETY: a page that may be read, or it does not come back.
    unsafe { (address as *const u8).read_volatile() }.into()
}

fn write(address: u64) -> u64 {
    // SAFETY: as above; nobody can tell that the byte was written.
    let byte = unsafe { AtomicU8::from_ptr(address as *mut u8) };
    byte.fetch_or(black_box(0), Ordering::Relaxed).into()
}

fn jump(address: u64) -> u64 {
    provoke::call(address as usize);
    0
}

/// Where a jump into a page of the image's text may go.
fn target_in(page: u64) -> Option<u64> {
    // SAFETY: a page of the image's text, which stays and is not written.
    let code = unsafe { core::slice::from_raw_parts(page as *const u8, PAGE_BYTES as usize) };
    Some(page + provoke::find_end(code)? as u64)
}

struct Sweep {
    layout: Layout,
    reads: Kind,
    writes: Kind,
    jumps: Kind,
    /// Pages of text that have no instruction to jump to.
    without_target: u64,
    wrong: Vec<String>,
}

impl Sweep {
    fn page(&mut self, page: u64) {
        let Granted { read, jump } = self.layout.grants(page);
        let outcome = self.reads.try_at(page, read);
        self.note(outcome);
        let outcome = self.writes.try_at(page, false);
        self.note(outcome);
        match if jump { target_in(page) } else { Some(page) } {
            None => self.without_target += 1,
            Some(target) => {
                let outcome = self.jumps.try_at(target, jump);
                self.note(outcome);
            }
        }
    }

    fn note(&mut self, outcome: Result<(), String>) {
        self.wrong.extend(outcome.err());
    }
}

/// What the kernel's view maps, by first address, and what it maps of user mode's own.
fn walk() -> (Vec<Range<u64>>, usize) {
    let (mut leaves, mut of_user_mode) = (Vec::new(), 0);
    provoke::mapped(|leaf| {
        if USER.contains(&leaf.start) {
            of_user_mode += 1;
        } else {
            leaves.push(leaf);
        }
    });
    (leaves, of_user_mode)
}

/// What must be among the pages, or the walk has missed them: text, constants, statics, heap, a stack, and the direct map.
fn check_walk(leaves: &[Range<u64>], heap: &u64) -> Result<(), String> {
    let local = 0_u8;
    let known = [
        main as fn() -> _ as usize,
        "a literal".as_ptr().addr(),
        (&raw const WRITTEN).addr(),
        core::ptr::from_ref(heap).addr(),
        (&raw const local).addr(),
        0xffff_8000_0000_0000 + (&raw const WRITTEN).addr(),
    ];
    match known.into_iter().find(|address| !leaves.iter().any(|leaf| leaf.contains(&(*address as u64)))) {
        Some(address) => Err(format!("{address:#x} is mapped, and the walk did not find it")),
        None => Ok(()),
    }
}

fn main() -> Result<(), String> {
    let begin = Instant::now();
    let heap = Box::new(black_box(0));
    let idle = user::Builder::new().spawn(|()| user::park(None), ()).map_err(|error| format!("{error}"))?;
    let mut sweep = Sweep {
        layout: Layout::new(),
        reads: Kind::new("read", read, &["read"]),
        writes: Kind::new("write", write, &["write", "read"]),
        jumps: Kind::new(JUMP, jump, &["execution"]),
        without_target: 0,
        wrong: Vec::new(),
    };
    let (mut swept, mut walks, mut large) = (BTreeSet::new(), 0, 0);
    loop {
        let (leaves, of_user_mode) = walk();
        walks += 1;
        check_walk(&leaves, &heap)?;
        if of_user_mode == 0 {
            return Err("the memory of a thread in user mode is not mapped".into());
        }
        let new: Vec<_> = leaves.into_iter().filter(|leaf| swept.insert(leaf.start)).collect();
        if new.is_empty() {
            break;
        }
        if walks == MOST_WALKS {
            return Err(format!("{} pages more in walk {walks}", new.len()));
        }
        for leaf in new {
            let last = leaf.end - PAGE_BYTES;
            sweep.page(leaf.start);
            if last != leaf.start {
                large += 1;
                sweep.page(last);
            }
        }
    }
    idle.thread().unpark();
    idle.join().map_err(|ended| format!("the thread that waited: {ended}"))?;
    report(&sweep, swept.len(), large, walks, begin)
}

fn report(sweep: &Sweep, pages: usize, large: usize, walks: u32, begin: Instant) -> Result<(), String> {
    println!("{pages} pages, {large} of them large, in {walks} walks and {} ms", begin.elapsed().as_millis());
    let kinds = [&sweep.reads, &sweep.writes, &sweep.jumps];
    for Kind { name, tried, faulted, to_fault, .. } in kinds {
        println!("{name}s: {faulted} of {tried} faulted, {to_fault} had to");
    }
    println!(
        "pages of text without a return: {}, without anything to jump to: {}",
        sweep.jumps.trapped, sweep.without_target
    );
    for wrong in sweep.wrong.iter().take(MOST_TOLD) {
        println!("wrong: {wrong}");
    }
    let is_exact = kinds.iter().all(|kind| kind.faulted == kind.to_fault);
    let granted = kinds.map(|kind| kind.tried - kind.to_fault);
    if !sweep.wrong.is_empty() || !is_exact || granted[0] == 0 || granted[1] != 0 || granted[2] == 0 {
        return Err(format!("{} answers are wrong; granted {granted:?}", sweep.wrong.len()));
    }
    println!("what user mode may do is what the layout says: {} reads and {} jumps", granted[0], granted[2]);
    Ok(())
}
