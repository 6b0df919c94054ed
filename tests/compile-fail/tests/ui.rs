//! Compiles each case of `tests/ui` and compares what the compiler says with the file beside it.
//!
//! A policy is chosen by a cargo feature of `ebbtide`. The case has no features of its own, so the compiler is told
//! directly that they are on: by `CARGO_ENCODED_RUSTFLAGS`, which cargo takes before the flags that trybuild gives. Since
//! that is the environment of a whole process, each case runs in a process of its own.

use std::env;
use std::process::Command;

/// Set in a process that runs a case.
const CHILD: &str = "EBBTIDE_COMPILE_FAIL_CHILD";

/// What stands between two flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// Runs one case with these policies selected; `test` is the name of the calling test.
fn refused(test: &str, policies: &[&str]) {
    if env::var_os(CHILD).is_some() {
        trybuild::TestCases::new().compile_fail(format!("tests/ui/{test}.rs"));
        return;
    }
    let features = policies.iter().flat_map(|name| ["--cfg".to_owned(), format!("feature=\"{name}\"")]);
    let flags: Vec<_> = ["--diagnostic-width=140".to_owned()].into_iter().chain(features).collect();
    let program = env::current_exe().expect("this test knows its own program");
    let output = Command::new(program)
        .args(["--exact", test])
        .env(CHILD, "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR))
        .output()
        .expect("this test's program starts once more");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn no_policy() {
    refused("no_policy", &[]);
}

#[test]
fn two_policies() {
    refused("two_policies", &["reclaim-on-sleep", "static"]);
}

#[test]
fn plain_build() {
    refused("plain_build", &[]);
}
