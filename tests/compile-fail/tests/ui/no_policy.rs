//! No stack policy is selected.
#![allow(unexpected_cfgs, reason = "the features are those of `ebbtide`")]

#[path = "../../../../platforms/unikernel/src/policy/choice.rs"]
mod choice;

fn main() {}
