//! The shipped workloads are read, and wrong ones are refused with line, key and what is allowed.

use std::path::PathBuf;

use super::{Known, Workload, chosen};
use crate::compare::kind::Kind;
use crate::exit::{Code, code_of};

const IDLE: &str = include_str!("../../../tests/workloads/idle-machines.toml");
const BOOT: &str = include_str!("../../../tests/workloads/boot.toml");
const SWITCH: &str = include_str!("../../../tests/workloads/switch.toml");
const DEPTH: &str = include_str!("../../../tests/workloads/depth.toml");
const SPAWN_JOIN: &str = include_str!("../../../tests/workloads/spawn-join.toml");
const SLEEPERS: &str = include_str!("../../../tests/workloads/sleepers.toml");
const SERVER: &str = include_str!("../../../tests/workloads/server.toml");
const CHAIN: &str = include_str!("../../../tests/workloads/chain.toml");
const DEEP: &str = include_str!("../../../tests/workloads/deep-sleepers.toml");
const FORK_JOIN: &str = include_str!("../../../tests/workloads/fork-join.toml");
const SYSTEM_CALLS: &str = include_str!("../../../tests/workloads/system-calls.toml");

fn parse(path: &str, text: &str) -> anyhow::Result<Workload> {
    let policies =
        ["accessed-bit", "ensure", "grow-on-entry", "grow-on-fault", "reclaim-on-sleep", "static"].map(str::to_owned);
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
        (CHAIN, Kind::Chain),
        (DEEP, Kind::DeepSleepers),
        (FORK_JOIN, Kind::ForkJoin),
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
        "ensure, grow-on-entry, grow-on-fault, reclaim-on-sleep, static".into(),
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
fn a_load_becomes_words_in_the_order_of_its_kind() {
    let server = parse("server", SERVER).expect("a workload");
    let words = server.words(None);
    assert_eq!(words[..2], ["workload=server", "steps=1,2,5,10,20,50,100,200,500,1000,2000,5000"]);
    assert_eq!((words.len(), words[9].as_str(), server.smp()), (10, "seed=1", vec![1]));
    let chain = parse("chain", CHAIN).expect("a workload");
    assert_eq!(
        (chain.words(None)[..3].join(" "), chain.smp()),
        ("workload=chain threads=8 wakes=line".into(), vec![1, 4])
    );
    assert_eq!(chain.words(None), parse("x", &CHAIN.replace("ahead = 1", "ahead=1")).expect("the same").words(None));
    let edges = CHAIN.replace("wakes = \"line\"", "wakes = \"0-1,0-2,1-7,2-7\"");
    assert_eq!(parse("x", &edges).expect("a workload").words(None)[2], "wakes=0-1,0-2,1-7,2-7");
    let deep = parse("deep", DEEP).expect("a workload").words(None);
    assert_eq!((deep[5].as_str(), deep[9].as_str()), ("pause_ms=1-40", "ebbtide.cache=16"));
    let text = SERVER.replace("[load]", "args = \"ebbtide.cache=16\"\nsmp = [1, 16]\n[load]");
    let server = parse("server", &text.replace("repetitions = 2\n", "repetitions = 2\n\n")).expect("a workload");
    assert_eq!((server.words(None)[10].as_str(), server.smp()), ("ebbtide.cache=16", vec![1, 16]));
    // As it was before there was such a table: what the guest gets, word by word.
    let head = SERVER.split("[load]").next().expect("it begins before the table");
    let server = parse("server", &format!("{head}args = \"workload=server steps=1,2\"")).expect("a workload");
    assert_eq!(server.words(None), ["workload=server", "steps=1,2"]);
}

#[test]
fn a_wrong_load_is_named_with_its_line_key_and_what_is_allowed() {
    for (file, key, bad, allowed) in [
        (SERVER, "steps", "steps = [1, 2, 2]", "each greater than the last"),
        (SERVER, "steps", "steps = []", "each greater than the last"),
        (SERVER, "steps", "steps = 7", "a list of numbers from 1"),
        (SERVER, "requests", "requests = 0", "a number from 1 to 1000000"),
        (SERVER, "requests", "requests = \"many\"", "a number from 1 to 1000000"),
        (SERVER, "depths", "depths = \"2:50,13:1\"", "a depth of 1 to 12 KiB and its share"),
        (SERVER, "depths", "depths = \"2:50,\"", "pairs as"),
        (SERVER, "depths", "depths = \"+2:50\"", "pairs as"),
        (SERVER, "seed", "seed = 0", "a number from 1"),
        (CHAIN, "threads", "threads = 2", "a number from 3 to 1000"),
        (CHAIN, "wakes", "wakes = \"star\"", "\"line\", \"ring\", \"fan\", \"gather\", or pairs"),
        (CHAIN, "wakes", "wakes = \"0-1,2\"", "or pairs as \"0-1,1-2\""),
        (CHAIN, "wakes", "wakes = \"0-1,1-8\"", "names the thread 8; of 8 `threads` there are 0 to 7"),
        (CHAIN, "ahead", "ahead = 0", "a number from 1 to 1000"),
        (DEEP, "sleep_ms", "sleep_ms = \"60-20\"", "the smaller one first"),
        (DEEP, "pause_ms", "pause_ms = 60001", "a number from 1 to 60000"),
        (DEEP, "user_percent", "user_percent = 101", "a number from 0 to 100"),
        (FORK_JOIN, "levels", "levels = 17", "a number from 1 to 16"),
    ] {
        let good = file.lines().find(|line| line.starts_with(key)).expect("it is there");
        let text = refusal(&file.replace(good, bad));
        for part in [&line_of(file, key), &format!("`load.{key}`"), allowed] {
            assert!(text.contains(part), "{bad}: {part}: {text}");
        }
        let text = refusal(&file.replace(&format!("{good}\n"), ""));
        for part in [&line_of(file, "[load]"), &format!("[load] lacks `{key}`")] {
            assert!(text.contains(part.as_str()), "{key}: {part}: {text}");
        }
    }
    let text = refusal(&SERVER.replace("looks = 91", "look = 91"));
    for part in [line_of(SERVER, "looks"), "`load.look`: no such key; known: steps, bursts_ms".into()] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let text = refusal(&format!("{BOOT}\n[load]\nthreads = 1\n"));
    assert!(text.contains("line 15: [load] is not for the kind \"boot\""), "{text}");
    let text = refusal(SERVER.split("[load]").next().expect("it begins before the table"));
    assert!(text.contains("the kind \"server\" needs [load]"), "{text}");
    let text = refusal(&BOOT.replace("args = \"record\"\n", ""));
    assert!(text.contains("the kind \"boot\" needs `args`"), "{text}");
}

#[test]
fn numbers_of_cpus_are_what_a_machine_can_have() {
    for bad in ["0", "[17]", "[1, 4, 1]", "[]", "\"4\""] {
        let text = refusal(&SWITCH.replace("memory =", &format!("smp = {bad}\nmemory =")));
        for part in [line_of(SWITCH, "memory ="), "`smp` is".into(), "a number from 1 to 16, or a list".into()] {
            assert!(text.contains(&part), "{part}: {text}");
        }
    }
}

#[test]
fn one_number_of_cpus_needs_no_list() {
    let text = SWITCH.replace("memory =", "smp = 4\nmemory =");
    assert_eq!(parse("x", &text).expect("a workload").smp(), [4]);
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
