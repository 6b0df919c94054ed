//! Ten threads in user mode that misbehave, each in its own way, while the rest works on.
//!
//! ```text
//! cargo xtask run sandbox
//! ```
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "a sandbox is for code that does what it must not")]

extern crate alloc;

use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use ebbtide::user::{self, Error};

ebbtide::main!(main);

/// A static that is written: the kernel's alone.
static SECRET: AtomicU64 = AtomicU64::new(42);

/// What a thread does, and how.
type Try = (&'static str, fn(u64) -> u64);

/// What each thread tries. The argument is an address in the kernel's heap.
const TRIES: [Try; 10] = [
    ("panics", |_| panic!("out of my depth")),
    ("writes to a static", |_| SECRET.fetch_add(1, Ordering::Relaxed)),
    // SAFETY: it is not, and that is what the sandbox is for.
    ("reads the kernel's heap", |address| unsafe { (address as *const u64).read_volatile() }),
    // SAFETY: as above.
    ("jumps into nowhere", |_| unsafe { core::mem::transmute::<usize, fn() -> u64>(0x10)() }),
    ("overflows its stack", |_| deeper(0)),
    ("wants more memory than it may have", |_| black_box(Vec::<u8>::with_capacity(1 << 30)).capacity() as u64),
    ("writes to the kernel's console", |_| {
        ebbtide::println!("this is never seen");
        0
    }),
    ("ends the machine", |_| ebbtide::process::exit(0)),
    ("gives the kernel a bad pointer", |address| {
        match user::raw_call(user::Call::Write as u64, [address, 8, 0, 0, 0]) {
            Err(Error::BadAddress) => panic!("the kernel did not fall for it"),
            answer => answer.unwrap_or(0),
        }
    }),
    ("makes a system call that there is not", |_| match user::raw_call(4_711, [0; 5]) {
        Err(Error::UnknownCall) => panic!("the kernel did not know it"),
        answer => answer.unwrap_or(0),
    }),
];

#[expect(unconditional_recursion, reason = "it ends where the stack does")]
fn deeper(depth: u64) -> u64 {
    let ballast = black_box([depth; 64]);
    deeper(depth + 1) + ballast[0]
}

/// What a thread that means well does: everything that `core` and `alloc` have, on a heap of its own.
fn sound(depths: [u32; 4]) -> u32 {
    let words: Vec<_> = depths.iter().map(|depth| format!("{depth} fathoms")).collect();
    user::println!("{}: {}", if user::is_user_mode() { "in user mode" } else { "in the kernel" }, words.join(", "));
    user::sleep(Duration::from_millis(1));
    depths.iter().sum()
}

fn main() {
    let kept = alloc::boxed::Box::new(7_u64);
    let address = core::ptr::from_ref(&*kept).expose_provenance() as u64;
    for (what, function) in TRIES {
        let well = user::spawn(sound, [1, 2, 3, 4]);
        let ill = user::spawn(function, address);
        match ill.join() {
            Err(ended) => ebbtide::println!("one that {what}: {ended}"),
            Ok(value) => panic!("one that {what} got away with it: {value}"),
        }
        assert_eq!(well.join(), Ok(10));
    }
    assert_eq!((*kept, SECRET.load(Ordering::Relaxed)), (7, 42));
    ebbtide::println!("{} threads misbehaved, and the rest worked on", TRIES.len());
}
