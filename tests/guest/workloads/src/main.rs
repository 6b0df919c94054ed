//! Workloads of the comparison, in one image: the word `workload=NAME` says which, the others what it is made to do. With `--` between
//! them, one follows the other.

#![no_std]
#![no_main]

extern crate alloc;

mod chain;
mod deep;
mod depths;
mod fork_join;
mod memory;
mod server;
mod words;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebbtide::env;

ebbtide::main!(main);

/// A workload, made of the words that follow its name.
type Workload = fn(&[String]) -> Result<(), String>;

const WORKLOADS: &[(&str, Workload)] =
    &[("chain", chain::run), ("deep-sleepers", deep::run), ("fork-join", fork_join::run), ("server", server::run)];

fn main() -> Result<(), String> {
    let words: Vec<String> = env::args().skip(1).collect();
    words.split(|word| word == "--").try_for_each(carry_out)
}

fn carry_out(words: &[String]) -> Result<(), String> {
    let named = words.split_first().and_then(|(first, rest)| Some((first.strip_prefix("workload=")?, rest)));
    let found = named.and_then(|(name, rest)| Some((WORKLOADS.iter().find(|(known, _)| *known == name)?.1, rest)));
    match found {
        Some((run, rest)) => run(rest),
        None => {
            let known: Vec<_> = WORKLOADS.iter().map(|(name, _)| format!("workload={name}")).collect();
            Err(format!("the first word must be one of {}", known.join(", ")))
        }
    }
}
