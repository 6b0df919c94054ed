//! What guests tell, from their lines to the figure.

use std::io::Write;

use super::function::{plain, short};
use super::hide::Hide;
use super::parse::{Of, Told, Way, read};
use super::report::Report;
use super::{fold, named};
use crate::arch::Arch;
use crate::exit::{Code, code_of};
use crate::symbols::{Lookup, Place};

const OUTPUT: &str = "Ebbtide 0.1.0\r\n\
    ebbtide: ways into the kernel: image=0x200000 ways=4 all=1\r\n\
    ebbtide: way kind=thread of=0x200100 bytes=300 thread=9 name=digger calls=0x200450:300,0x200310:200,0x200110:48,0x200020:0\r\n\
    ebbtide: way kind=call of=Sleep bytes=250 thread=53 name= calls=0x200450:250,0x200320:160\r\n\
    ebbtide: way kind=trap of=14 bytes=90 thread=1 name= calls=0x200330:90\r\n\
    ebbtide: way kind=thread of=0x200180 bytes=100 thread=12 name= calls=0x200190:100,0x200020:16\r\n\
    ebbtide: end code=0 reason=exit\r\n";

/// A function of 256 bytes behind the other, in a file each; two of the same name, and one that is inlined.
struct Fake;

impl Lookup for Fake {
    fn places(&self, offset: u64) -> Vec<Place> {
        let place = |function: String, line: u64| Place { function, position: Some(format!("f.rs:{line}")) };
        let mut places = vec![place("inlined".to_owned(), 0), place("f".to_owned(), offset)];
        places.truncate(if offset >= 0x500 { 0 } else { 2 });
        places
    }

    fn function(&self, offset: u64) -> Option<String> {
        let name = match offset >> 8 {
            0 => "ebbtide_arch::begin",
            1 => "ebbtide_core::audit::ways::call::<app::main::{closure#0}, [u8; 3]>",
            3 => "<app::Digger as app::Dig<ebbtide::system::Ebbtide>>::dig::<[u8; 3]>",
            4 => "ebbtide_core::thread::sleep::<ebbtide::system::Ebbtide>",
            _ => return None,
        };
        Some(name.to_owned())
    }

    fn data(&self, _: u64) -> Option<(String, u64)> {
        None
    }
}

fn report() -> Report {
    let told = read(OUTPUT).unwrap().unwrap();
    Report {
        app: "app".to_owned(),
        arch: "x86_64".to_owned(),
        policy: Some("static+audit".to_owned()),
        profile: "release".to_owned(),
        command: "qemu".to_owned(),
        all: told.all,
        entries: named::entries(&told, Arch::X86_64, &Fake),
    }
}

#[test]
fn what_a_guest_tells_is_read() {
    let told = read(OUTPUT).unwrap().expect("it tells something");
    assert_eq!((told.image, told.all, told.ways.len()), (0x20_0000, true, 4));
    assert_eq!(
        told.ways[1],
        Way {
            kind: "call".to_owned(),
            of: Of::Word("Sleep".to_owned()),
            bytes: 250,
            thread: 53,
            name: String::new(),
            calls: vec![(0x20_0450, 250), (0x20_0320, 160)],
        }
    );
    assert_eq!(told.ways[0].of, Of::Function(0x20_0100));
    assert_eq!(told.ways[0].name, "digger");
}

#[test]
fn a_guest_that_tells_nothing_is_no_error_and_one_that_saw_nothing_tells_so() {
    assert_eq!(read("hello\nebbtide: end code=0 reason=exit\n").unwrap(), None);
    let told = read("ebbtide: ways into the kernel: image=0x0 ways=0 all=0\n").unwrap();
    assert_eq!(told, Some(Told { image: 0, all: false, ways: Vec::new() }));
}

#[test]
fn a_bad_line_is_named_with_what_is_wrong() {
    let head = "ebbtide: ways into the kernel: image=0x200000 ways=1 all=1\n";
    for (line, wrong) in [
        ("kind=thread of=0x1 bytes=3 thread=9 name=", "`calls=` is missing"),
        ("kind=thread of=0x1 bytes=x thread=9 name= calls=", "`x` is no number"),
        ("kind=thread of=0xyz bytes=3 thread=9 name= calls=", "`0xyz` is no address"),
        ("kind=thread bytes=3 of=0x1 thread=9 name= calls=", "`bytes=3` stands where `of=` has to"),
        ("kind=thread of=0x1 bytes=3 thread=9 name= calls=0x5", "`0x5` is no ADDRESS:BYTES"),
        ("kind=thread of=0x1 bytes=3 thread=9 name= calls=5:3", "`5` is no address"),
        ("kind=thread of=0x1 bytes=3 thread=9 name= calls=0x5:3,0x6:4", "begins at 4, below 3"),
        ("kind=thread of=0x1 bytes=3 thread=9 name=a b calls=", "`b` stands where `calls=` has to"),
        ("kind=thread of=0x1 bytes=3 thread=9 name= calls= more", "`more` is too much"),
    ] {
        let error = read(&format!("{head}ebbtide: way {line}\n")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(wrong) && text.contains(&format!("`ebbtide: way {line}`")), "{text}");
        assert_eq!(code_of(&error), Code::CRASHED);
    }
    let error = read("ebbtide: ways into the kernel: image=200000 ways=1 all=1\n").unwrap_err().to_string();
    assert!(error.contains("`200000` is no address") && error.contains("image=200000 ways=1"), "{error}");
    let error = read(head).unwrap_err().to_string();
    assert!(error.contains("announced 1 ways") && error.contains("0 lines"), "{error}");
}

#[test]
fn a_chains_bytes_make_up_all_that_is_in_use() {
    for entry in report().entries {
        assert_eq!(entry.chain.iter().map(|frame| frame.bytes).sum::<u64>(), entry.bytes, "{entry:?}");
    }
}

#[test]
fn ways_and_functions_get_names_and_a_way_is_there_once() {
    let entries = report().entries;
    let titles: Vec<_> = entries.iter().map(|entry| (entry.title(), entry.bytes)).collect();
    // The second thread's first function is the first one's, at another address.
    assert_eq!(
        titles,
        [
            ("thread app::main::{closure#0}".to_owned(), 300),
            ("system call Sleep".to_owned(), 250),
            ("page fault (vector 14)".to_owned(), 90),
        ]
    );
    let chain: Vec<_> = entries[0].chain.iter().map(|frame| (frame.function.as_str(), frame.bytes)).collect();
    assert_eq!(
        chain,
        [
            ("ebbtide_arch::begin", 0),
            ("app::main::{closure#0}", 48),
            ("<app::Digger as app::Dig>::dig::<[u8; 3]>", 152),
            ("ebbtide_core::thread::sleep", 100),
        ]
    );
    // A caller's line is that of the call, which lies before where it goes on; the innermost's is where it stands.
    let at = |frame: usize| entries[0].chain[frame].position.clone().unwrap();
    assert_eq!((at(3), at(2)), (format!("f.rs:{}", 0x450), format!("f.rs:{}", 0x30f)));
    assert_eq!(entries[1].chain[0].function, "[before user mode]");
    assert_eq!(entries[2].chain[0].function, "[trap frame]");
}

#[test]
fn what_has_no_name_shows_its_address() {
    let output = "ebbtide: ways into the kernel: image=0x0 ways=2 all=0\n\
        ebbtide: way kind=user of=0x500 bytes=8 thread=1 name= calls=0xffffffffffffffff:8\n\
        ebbtide: way kind=call of=99 bytes=8 thread=1 name= calls=\n";
    let entries = named::entries(&read(output).unwrap().unwrap(), Arch::Aarch64, &Fake);
    assert_eq!(entries[0].title(), "user mode 0x500");
    assert_eq!(entries[0].chain[1].function, "0xffffffffffffffff");
    assert_eq!((entries[1].title(), entries[1].chain.len()), ("system call 99".to_owned(), 1));
}

#[test]
fn traps_have_the_architectures_names() {
    assert_eq!(named::trap(Arch::X86_64, "2"), "non-maskable interrupt (vector 2)");
    assert_eq!(named::trap(Arch::X86_64, "64"), "vector 64");
    assert_eq!(named::trap(Arch::Aarch64, "8"), "synchronous exception (vector 8)");
    assert_eq!(named::trap(Arch::Aarch64, "1"), "IRQ (vector 1)");
    assert_eq!(named::trap(Arch::Aarch64, "16"), "vector 16");
}

#[test]
fn names_lose_what_all_have_and_what_no_box_holds() {
    for (name, without) in [
        ("a::f::<ebbtide::system::Ebbtide>", "a::f"),
        ("<a::T<ebbtide::system::Ebbtide>>::f", "<a::T>::f"),
        ("a::f::<ebbtide::system::Ebbtide, u8>", "a::f::<u8>"),
        ("ebbtide_core::audit::ways::call::<fn(u8) -> (u8, u8), ()>", "fn(u8) -> (u8, u8)"),
        ("ebbtide_core::audit::ways::call::<<a::B<u8>>::f::{closure#0}, ()>", "<a::B<u8>>::f::{closure#0}"),
    ] {
        assert_eq!(plain(name), without);
    }
    for (name, brief) in [
        ("a::b::c::f", "c::f"),
        ("main", "main"),
        ("a::f::<[u8; 3], fn() -> u8>", "a::f"),
        ("a::f::<u8>::{closure#1}", "f::{closure#1}"),
        ("<a::b::T<u8> as c::D<e::F>>::g::<H>", "b::T::g"),
        (
            "<alloc::boxed::Box<dyn core::ops::FnOnce<(), Output = ()> + core::marker::Send> as core::ops::FnOnce<()>>::call",
            "boxed::Box::call",
        ),
        (
            "<<a::B>::f<u8>::{closure#0} as core::FnOnce<()>>::call_once::{shim:vtable#0}",
            "a::B::f::{closure#0}::call_once",
        ),
        ("0x1f", "0x1f"),
    ] {
        assert_eq!(short(name), brief);
    }
}

#[test]
fn towers_are_as_wide_as_stacks_are_deep() {
    let folded = report().folded();
    let lines: Vec<_> = folded.lines().collect();
    assert_eq!(lines[0], "main::{closure#0} (thread);ebbtide_arch::begin;main::{closure#0} 48");
    assert_eq!(
        lines[2],
        "main::{closure#0} (thread);ebbtide_arch::begin;main::{closure#0};app::Digger::dig;thread::sleep 100"
    );
    let sum: u64 = lines.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 300 + 250 + 90);
    let figure = String::from_utf8(fold::figure(&folded, "app").unwrap()).unwrap();
    assert!(
        figure.contains("<svg") && figure.contains("thread::sleep (190 bytes,")
            || figure.contains("(100 bytes, 15.62%)")
    );
    assert!(figure.contains("page fault (vector 14) (90 bytes"), "{figure}");
}

#[test]
fn nothing_to_draw_is_an_error() {
    let error = format!("{:#}", fold::figure("", "app").unwrap_err());
    assert!(error.contains("drawing the flame graph"), "{error}");
}

#[test]
fn the_table_and_the_record_have_each_way() {
    let report = report();
    let text = report.text();
    assert!(
        text.starts_with("app, x86_64, static+audit, release: the deepest that stacks were seen, in bytes\n"),
        "{text}"
    );
    for part in [
        "thread app::main::{closure#0}",
        "digger",
        "     152  <app::Digger as app::Dig>::dig::<[u8; 3]> at f.rs:783",
        "300 bytes, in digger",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(report.folder(), "x86_64/static+audit/release/app");
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let entry = &json["runs"][0]["entries"][0];
    assert_eq!((json["schema"].as_u64(), entry["bytes"].as_u64()), (Some(1), Some(300)));
    assert_eq!(entry["chain"][2]["bytes"].as_u64(), Some(152));
    let told = Report { all: false, ..report };
    assert!(told.text().ends_with("they count with the others\n"));
}

#[test]
fn long_names_are_cut_in_the_table_alone() {
    let mut report = report();
    report.entries[0].name = format!("{}::last", "very_long".repeat(20));
    let lines = report.text();
    let row = lines.lines().find(|line| line.starts_with('…')).expect("a row");
    assert!(row.contains("::last ") && row.chars().count() < 200, "{row}");
    assert!(lines.contains(&format!("thread {}", report.entries[0].name)));
}

#[test]
fn the_console_shows_what_is_not_for_the_tool_and_that_at_once() {
    let mut shown = Vec::new();
    let mut hide = Hide::new(&mut shown);
    for byte in OUTPUT.as_bytes() {
        hide.write_all(&[*byte]).unwrap();
    }
    drop(hide);
    assert_eq!(String::from_utf8(shown).unwrap(), "Ebbtide 0.1.0\r\nebbtide: end code=0 reason=exit\r\n");
    for text in ["name? ", "ebbtide: wa", "ebbtide: wave\n", "\n", ""] {
        let mut shown = Vec::new();
        let mut hide = Hide::new(&mut shown);
        hide.write_all(text.as_bytes()).unwrap();
        drop(hide);
        assert_eq!(String::from_utf8(shown).unwrap(), text);
    }
}
