//! Every figure is rendered to pixels: something stands on it, no letter is cut, and none overlaps another.

use std::sync::Arc;

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{self, Node, Rect, Tree};

use super::super::record::tests::{record, work};
use super::super::record::{Record, Status};
use super::{Figure, all};

/// As many policies as there are colours.
const POLICIES: &[&str] = &[
    "accessed-bit",
    "ensure",
    "grow-on-entry",
    "grow-on-fault",
    "reclaim-before-switch",
    "reclaim-deferred",
    "reclaim-on-sleep",
    "static",
];

const MACHINES: &[&str] = &["AMD Genoa 384", "Intel Skylake 112", "AMD Rome 128", "AMD Rome 256", "Intel Haswell 72"];

/// Records of a whole comparison.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for (place, policy) in POLICIES.iter().enumerate() {
        let saving = if place % 3 == 1 { 0.0 } else { 75.0 - place as f64 };
        for machine in MACHINES {
            let kib = 1_000.0 * (1.0 - saving / 100.0);
            let figures = [
                ("saving_percent", saving),
                ("published_saving_percent", 73.42),
                ("stack_kib", kib),
                ("oracle_kib", 250.0),
            ];
            records.push(record(policy, Some(machine), &figures));
        }
        let cost = 1.0 + place as f64 / 3.0;
        let switch = [("yield_insns", 94.51 * cost), ("wake_insns", 162.0 * cost), ("preempt_insns", 808.0)];
        records.push(work(policy, "switch", &switch));
        let calls = [("syscall_insns", 102.0 * cost), ("syscall_sleep_insns", 946.0), ("user_preempt_insns", 363.0)];
        records.push(work(policy, "system-calls", &calls));
        records.push(work(policy, "spawn-join", &[("spawn_join_insns", 2177.0)]));
    }
    records
}

/// Reads an SVG with letters that every machine has: those that come with a crate.
fn read(svg: &str) -> Tree {
    let mut options = usvg::Options::default();
    let fonts = Arc::make_mut(&mut options.fontdb);
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    let family = fonts.faces().next().expect("a font").families[0].0.clone();
    fonts.set_sans_serif_family(family);
    Tree::from_str(svg, &options).expect("an SVG")
}

/// The boxes around all words, with the words.
fn words(tree: &Tree) -> Vec<(String, Rect)> {
    fn walk(group: &usvg::Group, found: &mut Vec<(String, Rect)>) {
        for node in group.children() {
            match node {
                Node::Group(group) => walk(group, found),
                Node::Text(text) => {
                    let words = text.chunks().iter().map(|chunk| chunk.text()).collect();
                    found.push((words, text.abs_bounding_box()));
                }
                Node::Path(_) | Node::Image(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(tree.root(), &mut found);
    found
}

/// What is wrong with how words stand.
fn misplaced(tree: &Tree) -> Vec<String> {
    let (words, size) = (words(tree), tree.size());
    let cut = |at: &Rect| at.left() < 0.0 || at.top() < 0.0 || at.right() > size.width() || at.bottom() > size.height();
    let meet = |a: &Rect, b: &Rect| {
        a.left() < b.right() && b.left() < a.right() && a.top() < b.bottom() && b.top() < a.bottom()
    };
    let mut wrong: Vec<_> =
        words.iter().filter(|(_, at)| cut(at)).map(|(word, _)| format!("{word:?} is cut")).collect();
    for (place, (word, at)) in words.iter().enumerate() {
        let others = words[place + 1..].iter().filter(|(_, other)| meet(at, other));
        wrong.extend(others.map(|(other, _)| format!("{word:?} overlaps {other:?}")));
    }
    wrong
}

/// How many pixels are not of the paper's colour.
fn marked(tree: &Tree) -> usize {
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).expect("a size");
    pixels.fill(Color::WHITE);
    resvg::render(tree, Transform::identity(), &mut pixels.as_mut());
    let white = Color::WHITE.premultiply().to_color_u8();
    pixels.pixels().iter().filter(|pixel| **pixel != white).count()
}

#[test]
fn every_figure_is_legible() {
    let figures = all(&records());
    assert_eq!(figures.len(), super::KINDS.len(), "a figure of each kind");
    for Figure { name, picture, .. } in figures {
        let tree = read(&picture.file());
        assert!(words(&tree).len() > POLICIES.len(), "{name} has words: axes, and a legend");
        assert_eq!(misplaced(&tree), Vec::<String>::new(), "{name}");
        assert!(marked(&tree) > 10_000, "{name} is nearly blank: {} pixels", marked(&tree));
    }
}

#[test]
fn what_is_cut_or_overlaps_is_seen() {
    let text = |x: u32, word: &str| format!("<text x='{x}' y='20' font-family='sans-serif'>{word}</text>");
    let svg = |texts: String| format!("<svg xmlns='http://www.w3.org/2000/svg' width='100' height='40'>{texts}</svg>");
    assert_eq!(misplaced(&read(&svg(text(4, "one") + &text(60, "two")))), Vec::<String>::new());
    assert_eq!(misplaced(&read(&svg(text(4, "one") + &text(10, "two")))), ["\"one\" overlaps \"two\""]);
    assert_eq!(misplaced(&read(&svg(text(90, "three")))), ["\"three\" is cut"]);
    assert_eq!(marked(&read(&svg(String::new()))), 0);
}

#[test]
fn what_failed_is_not_drawn() {
    let mut records = records();
    for record in &mut records {
        record.status = Status::Timeout;
    }
    assert!(all(&records).is_empty());
}

#[test]
fn each_setting_has_figures_of_its_own() {
    let mut records = records();
    let mut others = records.clone();
    others.iter_mut().for_each(|record| record.setting.smp = 4);
    records.append(&mut others);
    let mut names: Vec<_> = all(&records).into_iter().map(|figure| figure.name).collect();
    assert!(names.contains(&"memory-x86_64-smp4-q35-max".to_owned()), "{names:?}");
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two have the same name");
}

#[test]
fn on_a_page_a_picture_has_the_colours_of_the_page() {
    let figures = all(&records());
    let element = figures[0].picture.element("a title");
    assert!(element.contains("currentColor") && !element.contains("#1F2328"));
    assert!(element.contains("aria-label=\"a title\""));
    let paper = |text: &str| text.contains("height=\"100%\" fill=\"#FFFFFF\"");
    assert!(paper(&figures[0].picture.file()) && !paper(&element));
}
