//! The shipped workloads are read, and wrong ones are refused with line, key and what is allowed.

use std::path::PathBuf;

use super::{Known, Workload, chosen};
use crate::compare::kind::Kind;
use crate::exit::{Code, code_of};

const IDLE: &str = include_str!("../../../tests/workloads/idle-machines.toml");
const BOOT: &str = include_str!("../../../tests/workloads/boot.toml");
const SWITCH: &str = include_str!("../../../tests/workloads/switch.toml");
const DEPTH: &str = include_str!("../../../tests/guest/depth/workload.toml");
const SPAWN_JOIN: &str = include_str!("../../../tests/workloads/spawn-join.toml");
const SLEEPERS: &str = include_str!("../../../tests/workloads/sleepers.toml");
const SERVER: &str = include_str!("../../../tests/workloads/server.toml");
const SYSTEM_CALLS: &str = include_str!("../../../tests/workloads/system-calls.toml");

fn parse(path: &str, text: &str) -> anyhow::Result<Workload> {
    let policies = ["ensure", "grow-on-entry", "reclaim-on-sleep", "static"].map(str::to_owned);
    let is_package = |name: &str| name == "hello" || name.starts_with("tests/guest/");
    Workload::parse(path, text, &Known { policies: &policies, is_package: &is_package, taken: &["taken".to_owned()] })
}

/// The number of the line that begins with these words.
fn line_of(text: &str, words: &str) -> String {
    let index = text.lines().position(|line| line.starts_with(words)).expect("it is there");
    format!("line {}:", index + 1)
}

fn refusal(text: &str) -> String {
    let error = parse("x.toml", text).expect_err("the text is wrong");
    assert_eq!(code_of(&error), Code::USAGE);
    error.to_string()
}

#[test]
fn the_shipped_workloads_are_read() {
    let idle = parse("idle", IDLE).expect("a workload");
    let machines = idle.machines();
    assert_eq!(machines.len(), 5);
    let genoa = machines[0].expect("a published machine");
    assert_eq!(genoa.name(), "AMD Genoa 384");
    assert_eq!(idle.words(Some(genoa)), ["stacks=5786", "grown=61"]);
    let boot = parse("boot", BOOT).expect("a workload");
    assert_eq!(boot.kind, Kind::Boot);
    assert_eq!(boot.machines(), [None]);
    assert_eq!(boot.words(None), ["record"]);
    let others = [
        (SWITCH, Kind::Switch),
        (SPAWN_JOIN, Kind::SpawnJoin),
        (SLEEPERS, Kind::Sleepers),
        (SYSTEM_CALLS, Kind::SystemCalls),
        (DEPTH, Kind::Depth),
        (SERVER, Kind::Server),
    ];
    for (text, kind) in others {
        let workload = parse("shipped", text).expect("a workload");
        assert_eq!((workload.kind, workload.name(), workload.machines()), (kind, kind.word(), vec![None]));
        assert!(workload.package().starts_with("tests/guest/"));
    }
}

#[test]
fn a_policy_may_need_other_memory() {
    let sleepers = parse("sleepers", SLEEPERS).expect("a workload");
    assert_eq!((sleepers.memory("static"), sleepers.memory("reclaim-on-sleep")), ("2G", "1G"));
    let text = refusal(&SLEEPERS.replace("static = \"2G\"", "statics = \"2G\""));
    for part in [
        line_of(SLEEPERS, "static ="),
        "`memory_under.statics`".into(),
        "ensure, grow-on-entry, reclaim-on-sleep, static".into(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let text = refusal(&SLEEPERS.replace("static = \"2G\"", "static = \"2 GiB\""));
    for part in [line_of(SLEEPERS, "static ="), "`memory_under.static`".into(), "8M or 2G".into()] {
        assert!(text.contains(&part), "{part}: {text}");
    }
}

#[test]
fn wrong_values_are_named_with_their_line_and_what_is_allowed() {
    for (key, bad, allowed) in [
        ("name", "name = \"my switch\"", "small letters"),
        ("name", "name = \"taken\"", "any other"),
        ("package", "package = \"switch\"", "an example's name or a crate's folder"),
        ("args", "args = \"rounds={stacks}\"", "may stand: nothing"),
        ("memory", "memory = \"much\"", "8M or 2G"),
        ("memory", "memory = \"1M\"", "8M or more"),
        ("timeout_seconds", "timeout_seconds = 0", "at least 1"),
        ("repetitions", "repetitions = 0", "at least 1"),
    ] {
        let good = SWITCH.lines().find(|line| line.starts_with(key)).expect("it is there");
        let text = refusal(&SWITCH.replace(good, bad));
        for part in [&line_of(SWITCH, key), &format!("`{key}`"), allowed] {
            assert!(text.contains(part), "{bad}: {part}: {text}");
        }
    }
    let text = refusal(&IDLE.replace("{stacks}", "{stack}"));
    assert!(text.contains("{stacks}, {pages_grown}"), "{text}");
    let text = refusal(&SPAWN_JOIN.replace("kind = \"spawn-join\"", "kind = \"spawn\""));
    for kind in ["idle-machines", "boot", "switch", "spawn-join", "sleepers"] {
        assert!(text.contains(kind), "{text}");
    }
}

#[test]
fn all_is_one_element_of_the_list() {
    let shipped = ["w/boot.toml", "w/idle-machines.toml"].map(PathBuf::from);
    let choose = |names: &[&str]| chosen(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), &shipped);
    assert_eq!(choose(&[]).expect("all"), shipped);
    assert_eq!(choose(&["boot", "all"]).expect("each once"), shipped);
    assert_eq!(choose(&["all", "x.toml"]).expect("a file too").len(), 3);
    let error = choose(&["all", "typo"]).expect_err("there is none");
    assert_eq!(code_of(&error), Code::USAGE);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    let text = refusal(&IDLE.replace("cores = 112", "core = 112"));
    let line = IDLE.lines().position(|line| line == "cores = 112").expect("it is there") + 1;
    for part in [format!("line {line}"), "`core`".into(), "`cores`".into()] {
        assert!(text.contains(&part), "{text}");
    }
}

#[test]
fn wrong_types_and_words_are_refused() {
    let text = refusal(&BOOT.replace("\"256M\"", "256"));
    assert!(text.contains("memory = 256") && text.contains("expected a string"), "{text}");
    let text = refusal(&BOOT.replace("kind = \"boot\"", "kind = \"reboot\""));
    assert!(text.contains("reboot") && text.contains("idle-machines"), "{text}");
    let text = refusal(&BOOT.replace("name = \"boot\"\n", ""));
    assert!(text.contains("missing field `name`"), "{text}");
}

#[test]
fn figures_that_disagree_are_refused() {
    for (good, bad, key) in [
        ("base_kib = 50912", "base_kib = 50913", "base_kib"),
        ("pages_grown = 33", "pages_grown = 34", "dynamic_kib"),
        ("saving_percent = 72.83", "saving_percent = 82.83", "saving_percent"),
        ("stacks = 2644", "stacks = 0", "stacks"),
    ] {
        let text = refusal(&IDLE.replace(good, bad));
        let line = IDLE.lines().take_while(|line| *line != good).filter(|line| *line == "[[machine]]").count();
        let headers: Vec<_> = IDLE.lines().enumerate().filter(|(_, line)| *line == "[[machine]]").collect();
        let header = format!("line {}:", headers[line - 1].0 + 1);
        assert!(text.contains(key) && text.contains(&header), "{header} {text}");
    }
}

#[test]
fn kinds_and_tables_fit_each_other() {
    let text = refusal(&IDLE.replace("kind = \"idle-machines\"", "kind = \"boot\""));
    assert!(text.contains("[[machine]]"), "{text}");
    let text = refusal(&BOOT.replace("kind = \"boot\"", "kind = \"idle-machines\""));
    assert!(text.contains("thread_size_kib"), "{text}");
    let text = refusal(&BOOT.replace("repetitions = 2", "repetitions = 0"));
    assert!(text.contains("repetitions"), "{text}");
}
