//! What passes, and all that must not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::judge;
use crate::qemu::{Ending, Report};
use crate::test::case::Verdict;
use crate::test::manifest::{GuestCase, parse};

fn case(text: &str) -> GuestCase {
    let text = format!("[[case]]\nname = \"c\"\npackage = \"p\"\n{text}\n");
    parse("cases.toml", &text).expect("a good case").remove(0)
}

fn suite() -> GuestCase {
    case("kind = \"suite\"")
}

fn guest(code: u8) -> Ending {
    Ending::Guest { code, reason: "main".into() }
}

/// How many tests passed, and why the others failed.
fn judged(case: &GuestCase, ending: Ending, output: &str) -> (usize, Vec<String>) {
    let report = Report {
        ending,
        output: output.into(),
        log: PathBuf::from("serial.log"),
        stderr: String::new(),
        duration: Duration::from_secs(1),
        command: "qemu".into(),
    };
    let mut passed = 0;
    let mut failures = Vec::new();
    for outcome in judge(case, "static", &report, Path::new("none")) {
        match outcome.verdict {
            Verdict::Passed => passed += 1,
            Verdict::Failed(why) => failures.push(why.lines().next().unwrap_or_default().to_owned()),
            Verdict::Skipped => panic!("a guest skips nothing"),
        }
    }
    (passed, failures)
}

const GOOD: &str = "banner\r\ntest a ... ok\r\nlog line\r\ntest b ... ok\r\ntests: 2 passed, 0 failed\r\nebbtide: end code=0 reason=main\r\n";

#[test]
fn each_test_of_a_suite_counts() {
    assert_eq!(judged(&suite(), guest(0), GOOD), (2, vec![]));
    let output = GOOD.replace("b ... ok", "b ... FAILED: 1 is not 2").replace("2 passed, 0", "1 passed, 1");
    assert_eq!(judged(&suite(), guest(1), &output), (1, vec!["1 is not 2".to_owned()]));
}

#[test]
fn a_suite_that_does_not_add_up_fails() {
    for (ending, output, part) in [
        (guest(0), GOOD.replace("tests: 2 passed, 0 failed\r\n", ""), "no total"),
        (guest(0), GOOD.replace("2 passed", "3 passed"), "announced 3"),
        (guest(0), GOOD.replace("test b ... ok\r\n", ""), "announced 2"),
        (guest(0), GOOD.replace("test b", "test a"), "twice"),
        (guest(0), "tests: 0 passed, 0 failed\n".into(), "no test"),
        (guest(0), format!("{GOOD}tests: 2 passed, 0 failed\n"), "more than one"),
        (guest(0), GOOD.replace("b ... ok", "b ... FAILED: x").replace("2 passed, 0", "1 passed, 1"), "ended with 0"),
        (guest(101), GOOD.into(), "it ended with 101"),
        (Ending::TimedOut, GOOD.into(), "no end within"),
        (Ending::Crashed("QEMU ended with 0".into()), GOOD.into(), "QEMU ended with 0"),
    ] {
        let (_, failures) = judged(&suite(), ending.clone(), &output);
        assert!(failures.iter().any(|why| why.contains(part)), "{ending:?} {output}: {failures:?}");
    }
}

#[test]
fn an_end_must_agree_in_all_parts() {
    let case = case(
        "kind = \"end\"\nexpect = { code = 102, reason = \"overflow\", lines = [\"^policy {policy}$\", \"second\"], absent = [\"panic\"] }",
    );
    let ending = Ending::Guest { code: 102, reason: "overflow".into() };
    let output = "policy static\r\nsecond line\r\n";
    assert_eq!(judged(&case, ending.clone(), output), (1, vec![]));
    for (ending, output, part) in [
        (guest(102), output.to_owned(), "expected 102 (overflow)"),
        (guest(0), output.to_owned(), "it ended with 0"),
        (Ending::TimedOut, output.to_owned(), "no end within"),
        (Ending::Crashed("killed".into()), output.to_owned(), "killed"),
        (ending.clone(), "policy other\nsecond\n".into(), "no line matches"),
        (ending.clone(), "second\npolicy static\n".into(), "not in this order"),
        (ending.clone(), format!("{output}panic!\n"), "must match no line"),
    ] {
        let (passed, failures) = judged(&case, ending, &output);
        assert_eq!((passed, failures.len()), (0, 1));
        assert!(failures[0].contains(part), "{failures:?}");
    }
}

#[test]
fn what_is_known_to_fail_has_to() {
    let fails = case("kind = \"end\"\nfails = \"no time\"\nexpect = { lines = [\"^done\"] }");
    assert_eq!(judged(&fails, guest(0), "banner\n"), (1, vec![]));
    assert_eq!(judged(&fails, guest(1), "done\n"), (1, vec![]));
    let passes = vec!["it passes now, though `fails` says: no time".to_owned()];
    assert_eq!(judged(&fails, guest(0), "done\n"), (0, passes));
    assert!(
        parse("cases.toml", "[[case]]\nname = \"c\"\npackage = \"p\"\nkind = \"suite\"\nfails = \"no\"\n").is_err()
    );
}
