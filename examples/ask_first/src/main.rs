//! Code that goes deep and knows it: it asks for stack first, and does something else where there is none. Under the policy `ensure`
//! this would be an overflow without asking; `ask_first blindly` shows that.

#![no_std]
#![no_main]

use core::hint::black_box;

use ebbtide::thread::StackError;
use ebbtide::{env, println, stack, thread};

ebbtide::main!(main);

/// Bytes of one call's own.
const FRAME_BYTES: usize = 1024;

/// Bytes of stack that one call takes, with what belongs to it besides.
const CALL_BYTES: usize = FRAME_BYTES + 256;

fn main() -> Result<(), StackError> {
    let asks = env::args().all(|word| word != "blindly");
    let diver = thread::Builder::new().name("diver".into()).stack_size(24 << 10).spawn(move || {
        if !asks {
            println!("12 calls deep: sum {}", dive(12));
            return;
        }
        for depth in [12, 1000] {
            match stack::ensure(depth * CALL_BYTES) {
                Ok(()) => println!("{depth} calls deep: sum {}", dive(depth)),
                Err(error) => {
                    println!("in a loop instead of {depth} calls: sum {}; {error}", (0..=depth).sum::<usize>())
                }
            }
        }
    })?;
    diver.join().unwrap();
    Ok(())
}

/// Adds up the depths on the way, with a frame of [`FRAME_BYTES`] each.
fn dive(depth: usize) -> usize {
    let frame = black_box([depth as u8; FRAME_BYTES]);
    let below = if depth == 0 { 0 } else { dive(depth - 1) };
    below + depth + usize::from(frame[0] != depth as u8)
}
