//! Traps that end the run: `trap-stack N`, `nested-fault`, `double-fault`, `undefined-instruction`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;

use ebbtide::{println, provoke};
use ebbtide_ends::word;

ebbtide::main!(main);

fn main() -> Result<(), String> {
    match &*word(1) {
        "trap-stack" => {
            let number = word(2).parse().ok().filter(|number| *number < provoke::TRAP_STACKS);
            println!("{} trap stacks", provoke::TRAP_STACKS);
            provoke::overflow_trap_stack(number.ok_or_else(|| word(2))?)
        }
        "nested-fault" => provoke::nested_fault(),
        "double-fault" => provoke::double_fault(),
        "undefined-instruction" => provoke::undefined_instruction(),
        other => Err(other.into()),
    }
}
