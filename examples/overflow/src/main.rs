//! A thread that recurses without end: what a stack overflow looks like. The run ends with code 102.

#![no_std]
#![no_main]

use core::hint::black_box;

use ebbtide::thread;
use ebbtide::thread::StackError;

ebbtide::main!(main);

fn main() -> Result<(), StackError> {
    let endless = thread::Builder::new().name("endless".into()).spawn(|| recurse(0))?;
    endless.join().unwrap();
    Ok(())
}

/// Never comes back.
#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + 1)
}
