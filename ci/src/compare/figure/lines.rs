//! Lines: one for each policy, with their names where they end. Lines that run on top of each other take turns, so that each shows.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, Scale};
use super::canvas::{Canvas, Drawn, SIZE, grid, ink, letters, vertical_axis};

/// What is drawn.
#[derive(Debug)]
pub struct Lines<'a> {
    /// What stands over it.
    pub title: &'a str,
    /// What the axes show, with their units: the one below, and the one to the left.
    pub axes: [&'a str; 2],
    /// How far things stand from each other on both axes.
    pub scale: Scale,
    /// The lines, the first of which is the first in the other figures' legends.
    pub lines: Vec<Line>,
    /// What stands over the marked parts of the axis below, and from where to where each reaches.
    pub marked: (&'a str, Vec<[f64; 2]>),
}

/// A line.
#[derive(Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub colour: RGBColor,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Where lines are drawn, in pixels: to the left, at the top, to the right, at the bottom. Further right stand their names.
const LEFT: i32 = 92;
const TOP: i32 = 84;
const RIGHT: i32 = 738;
const BOTTOM: i32 = SIZE.1 as i32 - 62;

/// Where names begin, and how far apart they stand at least.
const NAMES: i32 = RIGHT + 38;
const NAME_HEIGHT: i32 = 22;

/// How close lines are, in pixels, that would hide each other.
const CLOSE: f64 = 2.0;

/// How long a line's turn is among those that would hide each other, and the longest piece of a line that is looked at.
const TURN: f64 = 14.0;
const PIECE: f64 = 7.0;

/// A place, in pixels.
type Place = (f64, f64);

impl Lines<'_> {
    /// Draws them.
    pub fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        canvas.draw(&Text::new(self.title.to_owned(), (24, 24), letters(19, HPos::Left)))?;
        vertical_axis(canvas, self.axes[1], 50)?;
        let of = |one: fn(&(f64, f64)) -> f64| self.lines.iter().flat_map(move |line| line.points.iter().map(one));
        let x = Axis::over(self.scale, of(|point| point.0), [LEFT, RIGHT], false);
        let y = Axis::over(self.scale, of(|point| point.1), [BOTTOM, TOP], true);
        self.mark(canvas, &x)?;
        frame(canvas, &x, &y, self.axes[0])?;
        let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
        let paths: Vec<Vec<Place>> = self.lines.iter().map(|line| line.points.iter().map(place).collect()).collect();
        for (line, runs) in self.lines.iter().zip(turns(&paths)) {
            // With an edge, since not every colour stands out from every paper.
            for style in [ink().stroke_width(4), line.colour.stroke_width(2)] {
                for run in &runs {
                    canvas.draw(&PathElement::new(run.iter().map(|at| pixel(*at)).collect::<Vec<_>>(), style))?;
                }
            }
        }
        self.names(canvas, &paths)
    }

    /// Shades the marked parts, and says what they are.
    fn mark(&self, canvas: &Canvas<'_>, x: &Axis) -> Drawn {
        for [from, to] in &self.marked.1 {
            let (from, to) = (x.place(*from) as i32, x.place(*to) as i32);
            let shade = RGBColor(0x80, 0x80, 0x80).mix(0.18).filled();
            canvas.draw(&Rectangle::new([(from, TOP), (to, BOTTOM)], shade))?;
            canvas.draw(&Text::new(
                self.marked.0.to_owned(),
                ((from + to) / 2, TOP - 10),
                letters(14, HPos::Center),
            ))?;
        }
        Ok(())
    }

    /// Writes the names behind the lines' ends, in the order of these, each with its colour and a stroke that leads to it.
    fn names(&self, canvas: &Canvas<'_>, paths: &[Vec<Place>]) -> Drawn {
        let mut ends: Vec<(&Line, Place)> =
            self.lines.iter().zip(paths).filter_map(|(line, path)| Some((line, *path.last()?))).collect();
        ends.sort_by(|one, other| one.1.1.total_cmp(&other.1.1));
        let heights = spread(&ends.iter().map(|(_, end)| end.1 as i32).collect::<Vec<_>>());
        for ((line, end), y) in ends.into_iter().zip(heights) {
            let (x, end) = (NAMES, pixel(end));
            canvas.draw(&PathElement::new([end, (RIGHT + 6, end.1), (x - 8, y), (x, y)], grid()))?;
            canvas.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], line.colour.filled()))?;
            canvas.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], ink()))?;
            canvas.draw(&Text::new(line.name.clone(), (x + 18, y), letters(14, HPos::Left)))?;
        }
        Ok(())
    }
}

/// Draws both axes, with lines across at the numbers of the one to the left.
fn frame(canvas: &Canvas<'_>, x: &Axis, y: &Axis, below: &str) -> Drawn {
    for (value, name) in y.ticks() {
        let at = y.place(value) as i32;
        canvas.draw(&PathElement::new([(LEFT, at), (RIGHT, at)], grid()))?;
        canvas.draw(&Text::new(name, (LEFT - 8, at), letters(14, HPos::Right)))?;
    }
    for (value, name) in x.ticks() {
        let at = x.place(value) as i32;
        canvas.draw(&PathElement::new([(at, BOTTOM), (at, BOTTOM + 5)], ink()))?;
        canvas.draw(&Text::new(name, (at, BOTTOM + 16), letters(14, HPos::Center)))?;
    }
    canvas.draw(&PathElement::new([(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)], ink()))?;
    canvas.draw(&Text::new(below.to_owned(), ((LEFT + RIGHT) / 2, BOTTOM + 42), letters(15, HPos::Center)))?;
    Ok(())
}

fn pixel(at: Place) -> (i32, i32) {
    (at.0.round() as i32, at.1.round() as i32)
}

/// Heights, in rising order, so that each is at least a name's below the last, and none is moved further than it must be to stay above
/// the bottom.
fn spread(wanted: &[i32]) -> Vec<i32> {
    let mut heights: Vec<i32> = Vec::new();
    for wanted in wanted {
        let free = heights.last().map_or(TOP, |last| last + NAME_HEIGHT);
        heights.push(free.max(*wanted));
    }
    let mut room = BOTTOM;
    for height in heights.iter_mut().rev() {
        *height = room.min(*height);
        room = *height - NAME_HEIGHT;
    }
    heights
}

/// The parts of each path that are drawn: all of it where it is alone, and where others run within a hair of it, its turns.
fn turns(paths: &[Vec<Place>]) -> Vec<Vec<Vec<Place>>> {
    let mut runs = vec![Vec::<Vec<Place>>::new(); paths.len()];
    for piece in pieces(paths).windows(2) {
        let ends: Vec<_> = paths.iter().map(|path| Some([height(path, piece[0])?, height(path, piece[1])?])).collect();
        let turn = (piece[0] / TURN) as usize;
        for together in close(&ends) {
            let which = together[turn % together.len()];
            let Some(own) = ends[which] else { continue };
            let (from, to) = ((piece[0], own[0]), (piece[1], own[1]));
            match runs[which].last_mut().filter(|run| run.last() == Some(&from)) {
                Some(run) => go_on(run, to),
                None => runs[which].push(vec![from, to]),
            }
        }
    }
    runs
}

/// Those of the pieces that are there, together with those that they would hide or that would hide them: each with one of the group is
/// with all of it, so that there is one whose turn it is.
fn close(ends: &[Option<[f64; 2]>]) -> Vec<Vec<usize>> {
    let near = |one: usize, other: usize| match (ends[one], ends[other]) {
        (Some(one), Some(other)) => one.iter().zip(other).all(|(one, other)| (one - other).abs() < CLOSE),
        _ => false,
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for which in (0..ends.len()).filter(|which| ends[*which].is_some()) {
        let (with, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| group.iter().any(|other| near(which, *other)));
        groups = others;
        let mut group: Vec<usize> = with.concat();
        group.push(which);
        group.sort_unstable();
        groups.push(group);
    }
    groups
}

/// Lets a run go on to a place. What is straight has no places between its ends: in whole pixels it would have steps.
fn go_on(run: &mut Vec<Place>, to: Place) {
    let slope = |from: Place, to: Place| (to.1 - from.1) / (to.0 - from.0);
    if run.len() > 1 && (slope(run[run.len() - 2], run[run.len() - 1]) - slope(run[run.len() - 1], to)).abs() < 1e-6 {
        run.pop();
    }
    run.push(to);
}

/// Where pieces begin and end: at all points, and often enough between them.
fn pieces(paths: &[Vec<Place>]) -> Vec<f64> {
    let mut points: Vec<f64> = paths.iter().flatten().map(|at| at.0).collect();
    points.sort_by(f64::total_cmp);
    points.dedup();
    let mut pieces = Vec::new();
    for pair in points.windows(2) {
        let count = ((pair[1] - pair[0]) / PIECE).ceil();
        pieces.extend((0..count as usize).map(|part| pair[0] + (pair[1] - pair[0]) * part as f64 / count));
    }
    pieces.extend(points.last());
    pieces
}

/// How high a path is at a place below it; nothing if it is not there.
fn height(path: &[Place], x: f64) -> Option<f64> {
    let pair = path.windows(2).find(|pair| pair[0].0 <= x && x <= pair[1].0)?;
    let share = (x - pair[0].0) / (pair[1].0 - pair[0].0);
    Some(pair[0].1 + share * (pair[1].1 - pair[0].1))
}

#[cfg(test)]
mod tests {
    use super::{BOTTOM, NAME_HEIGHT, TOP, spread, turns};

    #[test]
    fn lines_that_would_hide_each_other_take_turns_and_others_are_whole() {
        let path = |y: f64| vec![(0.0, y), (300.0, y), (600.0, y + 50.0)];
        let runs = turns(&[path(10.0), path(200.0), path(10.5)]);
        assert_eq!(runs[1], [path(200.0)], "nobody is near it");
        let length = |runs: &[Vec<(f64, f64)>]| -> f64 { runs.iter().map(|run| run[run.len() - 1].0 - run[0].0).sum() };
        let (one, other) = (length(&runs[0]), length(&runs[2]));
        assert!((one + other - 600.0).abs() < 1e-6, "together they are whole: {one} + {other}");
        assert!((one - other).abs() < 40.0 && runs[0].len() > 10, "in turns: {one}, {other}, {}", runs[0].len());
        // Of three the first and the last are not close, but the middle one is to both.
        let runs = turns(&[path(10.0), path(11.5), path(13.0)]);
        let all: f64 = runs.iter().map(|runs| length(runs)).sum();
        assert!((all - 600.0).abs() < 1e-6, "somebody's turn everywhere: {all}");
    }

    #[test]
    fn names_stand_apart_and_between_top_and_bottom() {
        for wanted in [vec![TOP - 5; 9], vec![BOTTOM + 3; 9], vec![100, 101, 300, 300, 301], vec![]] {
            let heights = spread(&wanted);
            assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= NAME_HEIGHT), "{wanted:?}: {heights:?}");
            assert!(heights.iter().all(|height| (TOP..=BOTTOM).contains(height)), "{wanted:?}: {heights:?}");
        }
        assert_eq!(spread(&[100, 300]), [100, 300], "whoever has room stays");
    }
}
