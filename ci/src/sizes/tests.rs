//! Small functions of both architectures, byte by byte, and the chains that they make.

use std::collections::{BTreeMap, BTreeSet};

use super::budget::{self, Limits};
use super::chain::{Scope, Search, Unbounded};
use super::elf::{Code, Function};
use super::graph::Graph;
use super::list::List;
use super::report::Report;
use crate::arch::Arch;
use crate::exit;

/// An image of such functions, one behind the other from this address on.
const START: u64 = 0x1000;

fn code(arch: Arch, functions: &[(&str, &[u8])]) -> Code {
    let mut address = START;
    let mut function = |(name, code): &(&str, &[u8])| {
        let function = Function { names: vec![(*name).to_owned()], address, code: code.to_vec() };
        address += code.len() as u64;
        function
    };
    let functions = functions.iter().map(&mut function).collect();
    Code { arch, functions, words: BTreeSet::new(), constants: BTreeMap::new() }
}

fn x86(functions: &[(&str, &[u8])], list: &str) -> Graph {
    Graph::of(&code(Arch::X86_64, functions), &List::parse("calls.toml", list).expect("a list"))
}

fn arm(functions: &[(&str, &[u32])], list: &str) -> Graph {
    let bytes: Vec<_> = functions
        .iter()
        .map(|(name, words)| (*name, words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()))
        .collect();
    let functions: Vec<_> = bytes.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    Graph::of(&code(Arch::Aarch64, &functions), &List::parse("calls.toml", list).expect("a list"))
}

fn chain(graph: &Graph) -> (i64, Vec<(&str, i64)>, BTreeSet<Unbounded>) {
    let chain = Search::new(graph, Scope::Whole, BTreeSet::new()).from(0);
    let links = chain.links.iter().map(|(node, bytes)| (graph.nodes[*node].name(), *bytes)).collect();
    (chain.bytes, links, chain.unbounded)
}

/// push rbp; mov rbp, rsp; sub rsp, 32; call +6; add rsp, 32; pop rbp; ret
const CALLS_NEXT: &[u8] =
    &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xe8, 6, 0, 0, 0, 0x48, 0x83, 0xc4, 0x20, 0x5d, 0xc3];
/// push rbx; pop rbx; ret
const LEAF: &[u8] = &[0x53, 0x5b, 0xc3];
/// call rax; ret
const CALLS_ANYBODY: &[u8] = &[0xff, 0xd0, 0xc3];

#[test]
fn a_call_adds_what_is_in_use_there_and_the_return_address() {
    let graph = x86(&[("a", CALLS_NEXT), ("b", LEAF)], "");
    assert!(graph.nodes.iter().all(|node| node.doubts.is_empty()), "{graph:?}");
    assert_eq!(chain(&graph), (8 + 32 + 8 + 8, vec![("a", 48), ("b", 8)], BTreeSet::new()));
}

#[test]
fn on_aarch64_it_is_the_callee_that_keeps_the_return_address() {
    // stp x29, x30, [sp, #-48]!; mov x29, sp; bl +12; ldp x29, x30, [sp], #48; ret
    let calls: &[u32] = &[0xa9bd_7bfd, 0x9100_03fd, 0x9400_0003, 0xa8c3_7bfd, 0xd65f_03c0];
    // sub sp, sp, #4096; add sp, sp, #4096; ret
    let leaf: &[u32] = &[0xd140_07ff, 0x9140_07ff, 0xd65f_03c0];
    let graph = arm(&[("a", calls), ("b", leaf)], "");
    assert!(graph.nodes.iter().all(|node| node.doubts.is_empty()), "{graph:?}");
    assert_eq!(chain(&graph), (48 + 4096, vec![("a", 48), ("b", 4096)], BTreeSet::new()));
}

#[test]
fn a_loop_that_touches_pages_ends_where_it_says() {
    // lea r11, [rsp - 16384]; 1: sub rsp, 4096; mov qword [rsp], 0; cmp rsp, r11; jne 1b; add rsp, 16384; ret
    let probe: &[u8] = &[
        0x4c, 0x8d, 0x9c, 0x24, 0, 0xc0, 0xff, 0xff, 0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0x48, 0xc7, 0x04, 0x24, 0, 0, 0,
        0, 0x4c, 0x39, 0xdc, 0x75, 0xec, 0x48, 0x81, 0xc4, 0, 0x40, 0, 0, 0xc3,
    ];
    let graph = x86(&[("a", probe)], "");
    assert!(graph.nodes[0].doubts.is_empty(), "{graph:?}");
    assert_eq!(graph.nodes[0].frame, 16384);
    // sub x9, sp, #4, lsl #12; 1: sub sp, sp, #1, lsl #12; cmp sp, x9; str xzr, [sp]; b.ne 1b; add sp, sp, #4, lsl #12; ret
    let probe: &[u32] = &[0xd140_13e9, 0xd140_07ff, 0xeb29_63ff, 0xf900_03ff, 0x54ff_ffa1, 0x9140_13ff, 0xd65f_03c0];
    let graph = arm(&[("a", probe)], "");
    assert!(graph.nodes[0].doubts.is_empty(), "{graph:?}");
    assert_eq!(graph.nodes[0].frame, 16384);
}

#[test]
fn a_stack_pointer_that_only_a_run_tells_is_named() {
    for (what, code) in [
        ("moved by what only a run tells", &[0x48, 0x29, 0xc4, 0xc3][..]), // sub rsp, rax; ret
        ("returns from another depth", &[0x55, 0xc3]),                     // push rbp; ret
        ("ways of different depths", &[0x74, 1, 0x55, 0x5d, 0xc3]),        // je 1f; push rbp; 1: pop rbp; ret
        ("no instruction", &[0x06, 0xc3]),
        ("past its end", &[0x53]),                    // push rbx
        ("nothing leads", &[0xc3, 0x55, 0x5d, 0xc3]), // ret; push rbp; pop rbp; ret
    ] {
        let graph = x86(&[("a", code)], "");
        let doubts = &graph.nodes[0].doubts;
        assert!(doubts.iter().any(|doubt| doubt.what.contains(what)), "{what}: {doubts:?}");
        assert_eq!(chain(&graph).2, BTreeSet::from([Unbounded::Doubt(0)]), "{what}");
    }
    let graph = arm(&[("a", &[0xcb29_63ff, 0xd65f_03c0])], ""); // sub sp, sp, x9; ret
    assert_eq!(chain(&graph).2, BTreeSet::from([Unbounded::Doubt(0)]));
}

#[test]
fn calls_through_addresses_are_listed_or_named() {
    let functions: &[(&str, &[u8])] = &[("a", CALLS_ANYBODY), ("b", LEAF)];
    let graph = x86(functions, "");
    assert_eq!(graph.nodes[0].unlisted, BTreeMap::from([(START, "call rax".to_owned())]));
    assert_eq!(chain(&graph).2, BTreeSet::from([Unbounded::Unlisted(0)]));
    let list = |rest: &str| format!("[[calls]]\nfunction = \"*\"\nreason = \"a test\"\n{rest}");
    assert_eq!(chain(&x86(functions, &list("targets = [\"b*\"]"))), (16, vec![("a", 8), ("b", 8)], BTreeSet::new()));
    // A list that fits nobody explains nothing, unless it says that this may be.
    assert!(!chain(&x86(functions, &list("targets = [\"c\"]"))).2.is_empty());
    assert!(!chain(&x86(functions, &list("through = \"call rbx\"\ntargets = [\"b\"]"))).2.is_empty());
    assert!(chain(&x86(functions, &list("targets = [\"c\"]\nnone = true"))).2.is_empty());
    // lea rax, [rip + 3]; call rax; ret: the code says who it is
    let known: &[u8] = &[0x48, 0x8d, 0x05, 3, 0, 0, 0, 0xff, 0xd0, 0xc3];
    assert_eq!(chain(&x86(&[("a", known), ("b", LEAF)], "")), (16, vec![("a", 8), ("b", 8)], BTreeSet::new()));
    // lea rax, [rip + 1]; ret: somebody may call it, and nobody is said to
    let taken: &[u8] = &[0x48, 0x8d, 0x05, 1, 0, 0, 0, 0xc3];
    assert_eq!(x86(&[("a", taken), ("b", LEAF)], "").strays, [1]);
    assert!(x86(&[("a", taken), ("b", LEAF)], "[[taken]]\nfunction = \"b\"\nreason = \"a test\"").strays.is_empty());
}

#[test]
fn recursion_is_limited_or_named() {
    // je 1f; call -7; 1: ret
    let calls_itself: &[u8] = &[0x74, 5, 0xe8, 0xf9, 0xff, 0xff, 0xff, 0xc3];
    let graph = x86(&[("a", calls_itself)], "");
    assert_eq!(chain(&graph).2, BTreeSet::from([Unbounded::Recursion(vec![0])]));
    let graph = x86(&[("a", calls_itself)], "[[recursion]]\nthrough = [\"a\"]\nmost = 3\nreason = \"a test\"");
    assert_eq!(chain(&graph), (24, vec![("a", 8), ("a", 8), ("a", 8)], BTreeSet::new()));
}

#[test]
fn borders_are_not_crossed() {
    // mov rsp, rdi; call +1; ret: on another stack
    let leaves: &[u8] = &[0x48, 0x89, 0xfc, 0xe8, 1, 0, 0, 0, 0xc3];
    let functions: &[(&str, &[u8])] = &[("a", leaves), ("b", LEAF)];
    assert_eq!(chain(&x86(functions, "")).2, BTreeSet::from([Unbounded::Doubt(0)]));
    let border = |rest: &str| format!("[[border]]\nfunction = \"a\"\nreason = \"a test\"\n{rest}");
    assert_eq!(chain(&x86(functions, &border("moves = \"leaves\""))), (0, vec![("a", 0)], BTreeSet::new()));
    assert_eq!(chain(&x86(functions, &border("moves = \"arrives\""))).0, 16);
    assert_eq!(chain(&x86(functions, &border("moves = \"leaves\"\nthen = [\"b\"]"))).0, 8);
}

#[test]
fn what_ends_the_run_is_told_apart() {
    let graph = x86(&[("a", CALLS_NEXT), ("b", LEAF)], "[[end]]\nfunction = \"b\"\nreason = \"a test\"");
    let bytes = |scope| Search::new(&graph, scope, BTreeSet::new()).from(0).bytes;
    assert_eq!((bytes(Scope::Running), bytes(Scope::Whole)), (48, 56));
}

#[test]
fn an_entry_of_several_functions_is_a_bound_if_all_are() {
    let list =
        List::parse("calls.toml", "[[entry]]\nname = \"x\"\nfunction = \"*\"\nreason = \"a test\"").expect("a list");
    let functions: &[(&str, &[u8])] = &[("a", CALLS_ANYBODY), ("b", CALLS_NEXT), ("c", LEAF)];
    let graph = Graph::of(&code(Arch::X86_64, functions), &list);
    let entry = &Report::of("app", Arch::X86_64, None, &graph, &list).entries[0];
    assert_eq!((entry.whole.bytes, entry.whole.is_bound()), (56, false));
}

#[test]
fn wrong_lists_are_refused() {
    for (list, part) in [
        ("[[entry]]\nname = \"x\"\nfunction = \"y\"", "reason"),
        ("[[entry]]\nname = \"x\"\nfunction = \"y\"\nreason = \" \"", "says nothing"),
        ("[[border]]\nfunction = \"y\"\nmoves = \"flies\"\nreason = \"z\"", "flies"),
        ("[[exit]]", "exit"),
    ] {
        let error = List::parse("calls.toml", list).expect_err(list);
        assert_eq!(exit::code_of(&error), exit::Code::USAGE);
        assert!(error.to_string().contains(part) && error.to_string().contains("calls.toml"), "{error}");
    }
}

#[test]
fn a_budget_is_held() {
    let list = "[[entry]]\nname = \"start\"\nfunction = \"a\"\nabove = { x86_64 = 16 }\nroom = { x86_64 = 100 }\nreason = \"a test\"";
    let list = List::parse("calls.toml", list).expect("a list");
    let report = |functions: &[(&str, &[u8])]| {
        let graph = Graph::of(&code(Arch::X86_64, functions), &list);
        Report::of("app", Arch::X86_64, Some("static".into()), &graph, &list)
    };
    let image = |name: &str, running: i64| budget::Image {
        app: "app".into(),
        arch: "x86_64".into(),
        policy: "static".into(),
        entries: BTreeMap::from([(name.to_owned(), Limits { running, whole: 1000 })]),
    };
    let good = report(&[("a", CALLS_NEXT), ("b", LEAF)]);
    assert!(budget::check(&good, &image("start", 72)).is_empty());
    let wrong = budget::check(&good, &image("start", 64));
    assert!(wrong.len() == 1 && wrong[0].contains("takes 72 bytes") && wrong[0].contains("8 more than"), "{wrong:?}");
    assert!(wrong[0].contains("48  a") && wrong[0].contains("8  b"), "{wrong:?}");
    let wrong = budget::check(&good, &image("end", 1000));
    assert!(wrong[0].contains("new entry point") && wrong[1].contains("is not there"), "{wrong:?}");
    let unlisted = budget::check(&report(&[("a", CALLS_ANYBODY)]), &image("start", 1000));
    assert!(unlisted.iter().any(|line| line.contains("unbounded")), "{unlisted:?}");
    assert!(unlisted.iter().any(|line| line.contains("`call rax`")), "{unlisted:?}");
    // sub rsp, 128; add rsp, 128; ret
    let large: &[u8] = &[0x48, 0x81, 0xec, 0x80, 0, 0, 0, 0x48, 0x81, 0xc4, 0x80, 0, 0, 0, 0xc3];
    let wrong = budget::check(&report(&[("a", large)]), &image("start", 1000));
    assert!(wrong.len() == 1 && wrong[0].contains("144 bytes, and has 100"), "{wrong:?}");
    let limits = budget::limits(&good)["start"];
    assert_eq!(limits, Limits { running: 256, whole: 256 });
}

/// The head of an ELF file for a machine, which has nothing but a head.
fn elf(machine: u16) -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    elf.extend(machine.to_le_bytes());
    elf.extend([1, 0, 0, 0]);
    elf.resize(52, 0);
    elf.extend([64, 0, 56, 0, 0, 0, 64, 0, 0, 0, 0, 0]);
    elf
}

#[test]
fn files_that_say_nothing_are_refused() {
    for (bytes, part) in
        [(b"text".to_vec(), "no ELF file"), (elf(243), "Riscv"), (elf(62), "stripped"), (elf(183), "stripped")]
    {
        let error = Code::parse(&bytes).expect_err(part);
        assert_eq!(exit::code_of(&error), exit::Code::USAGE, "{part}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = Code::read(std::path::Path::new("no/such/file")).expect_err("no file");
    assert_eq!(exit::code_of(&error), exit::Code::USAGE);
}
