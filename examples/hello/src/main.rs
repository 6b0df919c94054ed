//! The smallest app: prints a line and ends.

#![no_std]
#![no_main]

use ebbtide::{env, println, time};

ebbtide::main!(main);

fn main() {
    // Read first: it is what `cargo xtask compare` reports as boot_insns.
    let reached = time::counter() - time::counter_at_start();
    println!("Hello from an ebbing stack!");
    if env::args().any(|word| word == "record") {
        println!("ebbtide: record workload=boot boot_insns={reached}");
    }
}
