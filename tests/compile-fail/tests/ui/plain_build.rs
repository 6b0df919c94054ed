//! An app is built by plain `cargo build`.
#![allow(unexpected_cfgs, reason = "the condition is that of `ebbtide`")]

#[path = "../../../../platforms/unikernel/src/plain_build.rs"]
mod plain_build;

fn main() {}
