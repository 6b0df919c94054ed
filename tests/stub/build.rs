//! Links the stub as the loader is linked, with the loader's own script.

use std::env;

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let script = format!(
        "{}/../../../platforms/loader/src/{}/link.ld",
        variable("CARGO_MANIFEST_DIR"),
        variable("CARGO_CFG_TARGET_ARCH")
    );
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=--no-pie");
}
