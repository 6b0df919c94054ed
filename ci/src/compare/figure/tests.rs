//! Every figure is rendered to pixels: something stands on it, no letter is cut, and none overlaps another.

use std::sync::Arc;

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{self, Node, Rect, Tree};

use super::super::line::Figures;
use super::super::peers::tests::shipped;
use super::super::record::tests::{record, work};
use super::super::record::{Record, Status};
use super::Figure;

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
        let depth = [("depth_threads", 400.0), ("depth_up_to_1_kib", 300.0), ("depth_up_to_16_kib", 100.0)];
        records.push(work(policy, "depth", &depth));
        let waits = if saving > 50.0 { 4 } else { 0 };
        records.push(deep_sleepers(policy, waits));
        records.push(work(policy, "chain", &[("chain_item_insns", 20_000.0 * cost)]));
        records.push(work(policy, "fork-join", &[("fork_thread_insns", 5_000.0)]));
        records.push(server(policy, if saving == 0.0 { 16.0 } else { 4.0 }));
    }
    records
}

/// A record of a server, each thread of which takes so many KiB: the same under several policies, so that their lines are one.
fn server(policy: &str, kib: f64) -> Record {
    let point =
        |pairs: &[(&str, f64)]| -> Figures { pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect() };
    let memory = |threads: f64, more: f64| {
        [
            ("stack_kib", kib * threads + more),
            ("cache_kib", 20.0),
            ("table_kib", 24.0),
            ("oracle_kib", 4.0 * threads + more),
        ]
    };
    let mut record = work(policy, "server", &[("server_threads", 5000.0)]);
    let at_threads = |threads: f64| point(&[&[("threads", threads)][..], &memory(threads, 0.0)].concat());
    record.series.insert("threads".into(), [1.0, 10.0, 100.0, 1000.0, 5000.0].map(at_threads).to_vec());
    let at_ms = |look: u32| {
        let burst = (10..20).contains(&look);
        let times = [("at_ms", f64::from(look) * 10.0), ("requests", f64::from(look.clamp(10, 20)))];
        point(&[&times[..], &memory(5000.0, if burst { 9000.0 } else { 0.0 })].concat())
    };
    record.series.insert("bursts".into(), (0..=90).map(at_ms).collect());
    record
}

/// A record of deep sleepers, who need so many looks longer than others.
fn deep_sleepers(policy: &str, longer: u32) -> Record {
    let mut record = work(policy, "deep-sleepers", &[("deep_threads", 500.0)]);
    let at_ms = |look: u32| -> Figures {
        let kib = 1000.0 * f64::from(8 - look.abs_diff(8).min(8));
        let point = [("at_ms", 5.0 * f64::from(look)), ("stack_kib", kib + 2000.0), ("oracle_kib", kib)];
        point
            .into_iter()
            .chain([("cache_kib", 60.0), ("table_kib", 48.0)])
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    record.series.insert("deep".into(), (0..=20 + longer).map(at_ms).collect());
    record
}

/// All figures of records, with what was published.
fn all(records: &[Record]) -> Vec<Figure> {
    super::all(records, &shipped())
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

/// The figure on white paper.
fn rendered(tree: &Tree) -> Pixmap {
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).expect("a size");
    pixels.fill(Color::WHITE);
    resvg::render(tree, Transform::identity(), &mut pixels.as_mut());
    pixels
}

/// How many pixels are not of the paper's colour.
fn marked(tree: &Tree) -> usize {
    let white = Color::WHITE.premultiply().to_color_u8();
    rendered(tree).pixels().iter().filter(|pixel| **pixel != white).count()
}

/// How many pixels are of the colour of the `place`-th policy.
fn coloured(pixels: &Pixmap, place: usize) -> usize {
    let colour = super::canvas::colour(place);
    let is = |pixel: &&resvg::tiny_skia::PremultipliedColorU8| {
        (pixel.red(), pixel.green(), pixel.blue()) == (colour.0, colour.1, colour.2)
    };
    pixels.pixels().iter().filter(is).count()
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
fn every_policy_shows_in_every_figure() {
    let colours: std::collections::BTreeSet<_> = (0..POLICIES.len())
        .map(|place| {
            let colour = super::canvas::colour(place);
            (colour.0, colour.1, colour.2)
        })
        .collect();
    assert_eq!(colours.len(), POLICIES.len(), "each policy has a colour of its own");
    let known: toml::Table = include_str!("../../../../tests/policies.toml").parse().expect("a table");
    assert!(known.keys().eq(POLICIES), "another policy needs another colour, and to be tried here: {known:?}");
    for Figure { name, picture, .. } in all(&records()) {
        let pixels = rendered(&read(&picture.file()));
        for (place, policy) in POLICIES.iter().enumerate() {
            // The square before a name has 100 of them, and more when it is drawn without an edge. A line shows however many others are
            // at the same place; a bar or a dot may be under them, or nothing.
            let least = if name.starts_with("server-") { 160 } else { 90 };
            let count = coloured(&pixels, place);
            assert!(
                count > least,
                "{name}: only {count} pixels of the colour of policy {place} ({policy} or the reference)"
            );
        }
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
