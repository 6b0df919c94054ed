//! Traps that end the run: `trap-stack N`, `nested-fault`, `double-fault`, `undefined-instruction`, `float-register`,
//! `panic N`, `overflow`.
//!
//! With `left BYTES` in front each trap stack has only so many bytes left: what the report needs must fit into them.

use alloc::string::String;

use ebbtide::time::Duration;
use ebbtide::{println, provoke, thread};

use crate::overflows::recurse;
use crate::{PanicsItself, word};

pub fn main() -> Result<(), String> {
    let mut at = 1;
    if &*word(at) == "left" {
        provoke::shorten_trap_stacks(number(at + 1)? as u64);
        at += 2;
    }
    match &*word(at) {
        "trap-stack" => {
            println!("{} trap stacks", provoke::TRAP_STACKS);
            provoke::overflow_trap_stack(trap_stack(at + 1)?)
        }
        "nested-fault" => provoke::nested_fault(),
        "double-fault" => provoke::double_fault(),
        "undefined-instruction" => provoke::undefined_instruction(),
        "float-register" => {
            provoke::touch_float_register();
            Ok(())
        }
        "panic" => provoke::on_trap_stack(trap_stack(at + 1)?, panic_twice),
        "overflow" => {
            recurse(0);
            Ok(())
        }
        "survived" => {
            survived();
            Ok(())
        }
        other => Err(other.into()),
    }
}

fn number(at: usize) -> Result<usize, String> {
    word(at).parse().map_err(|_| word(at))
}

fn trap_stack(at: usize) -> Result<usize, String> {
    let number = number(at)?;
    if number < provoke::TRAP_STACKS { Ok(number) } else { Err(word(at)) }
}

/// A panic whose message panics: the longest way through the report of a panic.
extern "C" fn panic_twice() -> ! {
    panic!("{}", PanicsItself)
}

/// Every kind of trap that a run goes on after.
fn survived() {
    provoke::breakpoint();
    provoke::unmaskable_interrupt();
    let sleeper = thread::spawn(|| thread::sleep(Duration::from_millis(20)));
    // Timer interrupts come while this thread runs, and while the CPU is idle.
    while !sleeper.is_finished() {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(1));
    println!("survived");
}
