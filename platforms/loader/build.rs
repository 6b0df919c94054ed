//! Links the loader at its address, with the same flags otherwise as everything else.

use std::env;

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let script = format!("{}/src/{}/link.ld", variable("CARGO_MANIFEST_DIR"), variable("CARGO_CFG_TARGET_ARCH"));
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    // Everything else is position-independent; the loader is what is there first, and lies where the script says.
    println!("cargo::rustc-link-arg-bins=--no-pie");
}
