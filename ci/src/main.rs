//! `cargo xtask`: builds, runs, tests and compares Ebbtide.
fn main() {}
