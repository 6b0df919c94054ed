//! Bars, in groups: a group for each thing that was measured, a bar for each policy.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, Drawn, colour, grid, heading, ink, letters, number, round_up, vertical_axis};

/// What is drawn.
#[derive(Debug)]
pub struct Bars<'a> {
    /// What stands over it.
    pub title: String,
    /// What the axis to the left shows, with its unit.
    pub axis: &'a str,
    /// The policies, a bar of each in every group.
    pub policies: &'a [&'a str],
    /// The groups.
    pub groups: Vec<Group>,
    /// What the marks across the groups are: a full line, and a dashed one.
    pub marks: [&'a str; 2],
}

/// A group of bars.
#[derive(Debug)]
pub struct Group {
    /// What stands below it.
    pub name: String,
    /// The bars' heights, in the order of the policies; `None` where nothing was measured.
    pub bars: Vec<Option<f64>>,
    /// Where marks go across all of its bars.
    pub marks: [Option<f64>; 2],
}

/// Share of a group's width that its bars take.
const FILLED: f64 = 0.84;

impl Bars<'_> {
    /// Draws them.
    pub fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let below = heading(canvas, &self.title, self.policies)?;
        let below = self.explain_marks(canvas, below)?;
        let below = vertical_axis(canvas, self.axis, below)?;
        let (_, body) = canvas.split_vertically(below);
        let values = || self.groups.iter().flat_map(|group| group.bars.iter().chain(&group.marks).flatten());
        let most = round_up(values().copied().fold(0.0, f64::max));
        let mut chart = ChartBuilder::on(&body)
            .margin_top(14)
            .margin_right(24)
            .x_label_area_size(52)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..self.groups.len() as f64, 0.0..most)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(grid())
            .axis_style(ink())
            .y_label_style(letters(14, HPos::Right))
            .y_labels(6)
            .y_label_formatter(&number)
            .draw()?;
        for (place, group) in self.groups.iter().enumerate() {
            chart.draw_series(group.bars(place as f64))?;
            chart.draw_series(group.marks(place as f64))?;
            let (x, y) = chart.backend_coord(&(place as f64 + 0.5, 0.0));
            canvas.draw(&Text::new(group.name.clone(), (x, y + 20), letters(14, HPos::Center)))?;
        }
        Ok(())
    }

    /// Says below the legend what the marks are.
    fn explain_marks(&self, canvas: &Canvas<'_>, y: i32) -> Drawn<i32> {
        let meant: Vec<_> =
            (0..2).filter(|mark| self.groups.iter().any(|group| group.marks[*mark].is_some())).collect();
        for mark in &meant {
            let x = 76 + *mark as i32 * 436;
            for piece in pieces(*mark, f64::from(x), f64::from(x + 24)) {
                let ends = [(piece.0 as i32, y), (piece.1 as i32, y)];
                canvas.draw(&PathElement::new(ends, ink().stroke_width(2)))?;
            }
            canvas.draw(&Text::new(self.marks[*mark].to_owned(), (x + 32, y), letters(14, HPos::Left)))?;
        }
        Ok(if meant.is_empty() { y } else { y + 20 })
    }
}

impl Group {
    /// The bars of the group that begins at `left`.
    fn bars(&self, left: f64) -> Vec<Rectangle<(f64, f64)>> {
        let width = FILLED / self.bars.len() as f64;
        let mut bars = Vec::new();
        for (place, height) in self.bars.iter().enumerate() {
            let Some(height) = height else { continue };
            let x = left + (1.0 - FILLED) / 2.0 + place as f64 * width;
            let corners = [(x, 0.0), (x + width, *height)];
            bars.push(Rectangle::new(corners, colour(place).filled()));
            bars.push(Rectangle::new(corners, ink()));
        }
        bars
    }

    /// The marks across it.
    fn marks(&self, left: f64) -> Vec<PathElement<(f64, f64)>> {
        let ends = (left + 0.02, left + 0.98);
        let lines = self.marks.iter().enumerate().filter_map(|(mark, value)| Some((mark, (*value)?)));
        lines
            .flat_map(|(mark, value)| {
                let line = move |(from, to)| PathElement::new([(from, value), (to, value)], ink().stroke_width(2));
                pieces(mark, ends.0, ends.1).into_iter().map(line)
            })
            .collect()
    }
}

/// The pieces of a mark's line: the first mark has one, the second many short ones.
fn pieces(mark: usize, from: f64, to: f64) -> Vec<(f64, f64)> {
    const DASHES: usize = 12;
    if mark == 0 {
        return vec![(from, to)];
    }
    let length = (to - from) / (2 * DASHES - 1) as f64;
    (0..DASHES).map(|dash| from + (2 * dash) as f64 * length).map(|begin| (begin, begin + length)).collect()
}
