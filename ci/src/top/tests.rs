//! What a guest tells of itself, from its lines to what is shown.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::Came;
use super::parse::{Reader, Snapshot};
use super::screen::{Screen, text};
use super::split::Split;

const FIRST: &str = "ebbtide: top all ms=1500 running=1 ready=1 blocked=7 ended=0 populated=25 resting=3 empty=80 free=64000 frames=65280\n\
    ebbtide: top cpu number=0 runs=9 cache=12 reserved=1 switches=310 rested=20 freed=4 parked=2 idle=15\n\
    ebbtide: top thread id=9 name=main state=running priority=16 populated=4 resting=0 empty=12 deepest=1832\n\
    ebbtide: top thread id=11 name= state=blocked priority=29 populated=1 resting=3 empty=0 deepest=8320\n\
    ebbtide: top end\n";

/// What was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is shown of an output elsewhere than on a terminal, what came of it, and how often the guest was ended.
fn shown(output: &str, most: Option<u32>, end: fn()) -> (String, Came) {
    let (written, came) = (Written::default(), Arc::new(Mutex::new(Came::default())));
    let mut split = Split::new(Screen::below(Box::new(written.clone())), most, Arc::clone(&came), end);
    split.write_all(output.as_bytes()).unwrap();
    drop(split);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (text, Arc::into_inner(came).unwrap().into_inner().unwrap())
}

fn snapshot() -> Snapshot {
    let mut reader = Reader::default();
    let lines = FIRST.lines().map(|line| line.strip_prefix("ebbtide: top ").unwrap());
    lines.filter_map(|line| reader.take(line).unwrap()).last().expect("it ends")
}

#[test]
fn a_snapshot_is_read() {
    let snapshot = snapshot();
    assert_eq!((snapshot.ms, snapshot.states, snapshot.free, snapshot.frames), (1500, [1, 1, 7, 0], 64_000, 65_280));
    assert_eq!((snapshot.pages.populated, snapshot.pages.resting, snapshot.pages.empty), (25, 3, 80));
    let cpu = snapshot.cpus[0];
    assert_eq!((cpu.runs, cpu.cache, cpu.reserved, cpu.switches), (9, 12, 1, 310));
    assert_eq!((cpu.rested, cpu.freed, cpu.parked, cpu.idle), (20, 4, 2, 15));
    let thread = &snapshot.threads[1];
    assert_eq!((thread.id, thread.name.as_str(), thread.state.as_str(), thread.deepest), (11, "", "blocked", 8320));
}

#[test]
fn a_bad_line_is_named_and_ends_the_guest() {
    static ENDED: AtomicU32 = AtomicU32::new(0);
    let wrongs = [
        ("all ms=1", "`running=` is missing"),
        ("cpu number=0", "it comes before `all`"),
        ("end", "it comes before `all`"),
        ("bottom", "`bottom` is none of `all`, `cpu`, `thread` and `end`"),
    ];
    for (line, wrong) in wrongs {
        let (text, came) = shown(&format!("hello\nebbtide: top {line}\n{FIRST}bye\n"), None, || {
            _ = ENDED.fetch_add(1, Ordering::Relaxed)
        });
        let told = came.wrong.expect("it is told");
        assert!(told.contains(wrong) && told.ends_with(&format!("`ebbtide: top {line}`")), "{told}");
        assert_eq!((text.as_str(), came.snapshots), ("hello\nbye\n", 0));
    }
    assert_eq!(ENDED.load(Ordering::Relaxed), wrongs.len() as u32);
}

#[test]
fn the_guest_is_ended_when_enough_was_seen() {
    static ENDED: AtomicU32 = AtomicU32::new(0);
    let output = FIRST.repeat(3);
    let (text, came) = shown(&output, Some(2), || _ = ENDED.fetch_add(1, Ordering::Relaxed));
    assert_eq!((came.snapshots, ENDED.load(Ordering::Relaxed)), (2, 1));
    assert_eq!(text.matches("1.500 s: 9 threads").count(), 2);
    let (text, came) = shown(&output, None, || panic!("nobody has enough"));
    assert_eq!((came.snapshots, text.matches("1.500 s").count()), (3, 3));
}

#[test]
fn the_apps_lines_stay_and_half_a_line_before_a_snapshot_does() {
    let (text, _) = shown(&format!("one\r\nhow many? {FIRST}two\nthr"), None, || ());
    assert!(text.starts_with("one\nhow many? \n1.500 s"), "{text}");
    assert!(text.ends_with("two\nthr\n"), "{text}");
    assert!(!text.contains("ebbtide: top"), "{text}");
}

#[test]
fn a_snapshot_shows_cpus_threads_and_what_was_left_out() {
    let first = snapshot();
    let mut second = first.clone();
    second.ms += 500;
    second.cpus[0].switches += 1_000;
    let text = text(&second, Some(&first));
    for part in [
        "2.000 s: 9 threads (1 running, 1 ready, 7 blocked, 0 ended), 64000 of 65280 frames free\n",
        "stack pages: 25 populated, 3 resting, 80 empty\n",
        "main (9)",
        "and 7 threads with fewer frames\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let words = |begin: &str| {
        let line = text.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {text}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("0 "), ["0", "main", "(9)", "12", "1", "1310", "2000", "20", "4", "2", "15"]);
    assert_eq!(words("11 "), ["11", "blocked", "29", "1", "3", "0", "8320"]);
}
