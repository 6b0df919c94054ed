//! What is seen: the last snapshot, and the app's lines below it. On a terminal it is drawn again and again in the same place; elsewhere
//! everything stands below what came before.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};

use console::{Term, truncate_str};

use super::parse::{Cpu, Snapshot, Thread};
use crate::compare::table::{Style, grid};
use crate::run::Out;

/// Lines of the app's that are kept for a terminal.
const MOST_LINES: usize = 200;

/// Lines of a terminal that are the app's, however many threads there are.
const APP_LINES: usize = 6;

/// Where it is shown.
pub struct Screen {
    out: Out,
    /// What is on a terminal; nothing where the output goes elsewhere.
    drawn: Option<Drawn>,
}

#[derive(Default)]
struct Drawn {
    /// Lines that were drawn, and have to be drawn over.
    lines: usize,
    table: Vec<String>,
    app: VecDeque<String>,
}

/// What hides a terminal's cursor, and shows it.
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";

impl Screen {
    /// On a terminal.
    pub fn in_place(out: Out) -> Self {
        Self { out, drawn: Some(Drawn::default()) }
    }

    /// Elsewhere.
    pub fn below(out: Out) -> Self {
        Self { out, drawn: None }
    }

    /// Shows a snapshot in place of the last one.
    pub fn snapshot(&mut self, snapshot: &Snapshot, last: Option<&Snapshot>) -> io::Result<()> {
        let text = text(snapshot, last);
        let Some(drawn) = &mut self.drawn else { return writeln!(self.out, "{text}") };
        drawn.table = text.lines().map(str::to_owned).collect();
        self.draw()
    }

    /// Shows a line of the app's.
    pub fn app(&mut self, line: &str) -> io::Result<()> {
        let Some(drawn) = &mut self.drawn else { return writeln!(self.out, "{line}") };
        drawn.app.push_back(line.to_owned());
        if drawn.app.len() > MOST_LINES {
            drawn.app.pop_front();
        }
        self.draw()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn draw(&mut self) -> io::Result<()> {
        let (height, width) = Term::stdout().size();
        let Some(drawn) = &mut self.drawn else { return Ok(()) };
        let frame = drawn.redrawn(usize::from(height), usize::from(width));
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = self.out.write_all(SHOW.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

impl Drawn {
    /// What has to be written to a terminal of this size, so that it shows what there is now.
    fn redrawn(&mut self, height: usize, width: usize) -> String {
        // The last line stays free: there the cursor is.
        let room = height.saturating_sub(1);
        let table = self.table.len().min(room.saturating_sub(APP_LINES));
        let app = self.app.len().min(room - table);
        let lines = self.table.iter().take(table).chain(self.app.iter().skip(self.app.len() - app));
        let mut frame = HIDE.to_owned();
        if self.lines > 0 {
            // Up to the first line, and all that stands from there on away.
            let _ = write!(frame, "\x1b[{}A\r\x1b[J", self.lines);
        }
        for line in lines {
            let _ = writeln!(frame, "{}", truncate_str(&printable(line), width, "…"));
        }
        self.lines = table + app;
        frame
    }
}

/// A line without what would move the cursor.
fn printable(line: &str) -> String {
    line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A snapshot as text: what is of all, a table of CPUs, and one of threads.
pub fn text(snapshot: &Snapshot, last: Option<&Snapshot>) -> String {
    let [running, ready, blocked, ended] = snapshot.states;
    let pages = snapshot.pages;
    let mut text = format!(
        "{}.{:03} s: {} threads ({running} running, {ready} ready, {blocked} blocked, {ended} ended), {} of {} frames free\n\
         stack pages: {} populated, {} resting, {} empty\n",
        snapshot.ms / 1000,
        snapshot.ms % 1000,
        snapshot.states.iter().sum::<u64>(),
        snapshot.free,
        snapshot.frames,
        pages.populated,
        pages.resting,
        pages.empty,
    );
    text.push_str(&cpus(snapshot, last));
    text.push('\n');
    text.push_str(&threads(snapshot));
    let left_out = snapshot.states.iter().sum::<u64>().saturating_sub(snapshot.threads.len() as u64);
    if left_out > 0 {
        let _ = writeln!(text, "and {left_out} threads with fewer frames");
    }
    text
}

fn cpus(snapshot: &Snapshot, last: Option<&Snapshot>) -> String {
    let heads = ["CPU", "runs", "cache", "reserve", "switches", "per s", "rested", "freed", "parked", "idle"];
    let row = |cpu: &Cpu| {
        let per_second = last.and_then(|last| per_second(cpu, snapshot, last)).map(|rate| rate.to_string());
        let runs =
            snapshot.threads.iter().find(|thread| thread.id == cpu.runs).map_or_else(|| cpu.runs.to_string(), called);
        let number = |number: u64| number.to_string();
        vec![
            number(cpu.number),
            runs,
            number(cpu.cache),
            number(cpu.reserved),
            number(cpu.switches),
            per_second.unwrap_or_default(),
            number(cpu.rested),
            number(cpu.freed),
            number(cpu.parked),
            number(cpu.idle),
        ]
    };
    table(&heads, snapshot.cpus.iter().map(row).collect(), 2)
}

/// Switches in a second of the guest's, between two snapshots.
fn per_second(cpu: &Cpu, now: &Snapshot, last: &Snapshot) -> Option<u64> {
    let before = last.cpus.iter().find(|before| before.number == cpu.number)?;
    let ms = now.ms.checked_sub(last.ms).filter(|ms| *ms > 0)?;
    Some(cpu.switches.saturating_sub(before.switches) * 1000 / ms)
}

fn threads(snapshot: &Snapshot) -> String {
    let heads = ["thread", "state", "priority", "populated", "resting", "empty", "deepest"];
    let row = |thread: &Thread| {
        let pages = thread.pages;
        let numbers = [thread.priority, pages.populated, pages.resting, pages.empty, thread.deepest];
        [called(thread), thread.state.clone()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    };
    table(&heads, snapshot.threads.iter().map(row).collect(), 2)
}

/// What a thread is called.
fn called(thread: &Thread) -> String {
    if thread.name.is_empty() { thread.id.to_string() } else { format!("{} ({})", thread.name, thread.id) }
}

fn table(heads: &[&str], rows: Vec<Vec<String>>, first_number: usize) -> String {
    let heads: Vec<_> = heads.iter().map(|head| (*head).to_owned()).collect();
    let text = grid(&heads, &rows, first_number..heads.len(), Style::Terminal);
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(table: usize, app: usize) -> Drawn {
        let lines = |what: &'static str, number| (0..number).map(move |line| format!("{what} {line}"));
        Drawn { lines: 0, table: lines("table", table).collect(), app: lines("app", app).collect() }
    }

    fn shown(frame: &str) -> Vec<&str> {
        frame.strip_prefix(HIDE).expect("the cursor is hidden").lines().collect()
    }

    #[test]
    fn the_apps_lines_keep_some_room_and_the_last_of_them_are_shown() {
        let mut drawn = drawn(50, 50);
        let frame = drawn.redrawn(20, 80);
        let lines = shown(&frame);
        assert_eq!(lines.len(), 19);
        assert_eq!((lines[0], lines[12], lines[13], lines[18]), ("table 0", "table 12", "app 44", "app 49"));
        assert_eq!(drawn.lines, 19);
    }

    #[test]
    fn what_was_drawn_is_drawn_over() {
        let mut drawn = drawn(3, 1);
        assert!(!drawn.redrawn(24, 80).contains("\x1b[J"), "nothing to draw over yet");
        drawn.app.push_back("more".to_owned());
        let frame = drawn.redrawn(24, 80);
        assert!(frame.starts_with(&format!("{HIDE}\x1b[4A\r\x1b[J")), "{frame:?}");
        assert_eq!(drawn.lines, 5);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_or_moves_the_cursor() {
        let mut drawn = Drawn { app: VecDeque::from(["a\x1b[2Jb\tc".to_owned(), "x".repeat(90)]), ..Drawn::default() };
        let frame = drawn.redrawn(24, 40);
        let lines = shown(&frame);
        assert_eq!(lines[0], "a [2Jb c");
        assert!(lines[1].ends_with('…') && lines[1].chars().count() == 40, "{frame}");
    }

    #[test]
    fn a_terminal_of_two_lines_is_no_reason_to_fail() {
        for height in 0..3 {
            let mut drawn = drawn(5, 5);
            assert!(shown(&drawn.redrawn(height, 10)).len() <= height);
        }
    }
}
