//! Cost against saving: a policy is the better the further up and to the left it stands.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, Drawn, colour, grid, heading, ink, letters, number, round_up, vertical_axis};
use super::source::Source;
use super::{Figure, Picture};

/// Draws what a yield takes against what is saved.
pub fn yielding(source: &Source<'_>) -> Option<Figure> {
    draw(source, "yield", "yield_insns", "instructions per yield to another thread")
}

/// Draws what a wake-up takes against what is saved.
pub fn waking(source: &Source<'_>) -> Option<Figure> {
    draw(source, "wake", "wake_insns", "instructions per wake-up of another thread")
}

fn draw(source: &Source<'_>, word: &str, key: &str, axis: &str) -> Option<Figure> {
    let policies = source.policies();
    let point = |(place, policy): (usize, &&str)| {
        Some(Point { place, cost: source.figure(policy, key)?, saving: source.least_saving(policy)? })
    };
    let points: Vec<_> = policies.iter().enumerate().filter_map(point).collect();
    if points.is_empty() {
        return None;
    }
    let title = format!("Cost against saving: {axis}, and memory");
    Some(Figure {
        name: format!("cost-{word}-{}", source.suffix),
        title: title.clone(),
        caption: format!(
            "Better is further up and to the left. Saving: the least of the RFC's five machines, stack pages alone. {}.",
            source.setting()
        ),
        picture: Picture::draw(|canvas| plot(canvas, &title, axis, &policies, &points))?,
    })
}

/// A policy in the plane.
#[derive(Debug)]
struct Point {
    /// Its place among the policies.
    place: usize,
    cost: f64,
    saving: f64,
}

fn plot(canvas: &Canvas<'_>, title: &str, axis: &str, policies: &[&str], points: &[Point]) -> Drawn {
    let below = heading(canvas, title, policies)?;
    let below = vertical_axis(canvas, "stack memory saved against static, %", below)?;
    let (_, body) = canvas.split_vertically(below);
    let most = round_up(points.iter().map(|point| point.cost).fold(0.0, f64::max) * 1.02);
    let mut chart = ChartBuilder::on(&body)
        .margin_top(14)
        .margin_right(40)
        .x_label_area_size(58)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..most, -8.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(grid())
        .axis_style(ink())
        .x_desc(axis)
        .axis_desc_style(letters(15, HPos::Center))
        .x_label_style(letters(14, HPos::Center))
        .y_label_style(letters(14, HPos::Right))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    // Who stands at the same place shows as a ring around the other.
    for (before, point) in points.iter().enumerate() {
        let at = chart.backend_coord(&(point.cost, point.saving));
        let near = |other: &&Point| {
            let other = chart.backend_coord(&(other.cost, other.saving));
            (other.0 - at.0).abs() < 12 && (other.1 - at.1).abs() < 12
        };
        let rings = points[..before].iter().filter(near).count() as i32;
        if rings == 0 {
            canvas.draw(&Circle::new(at, 7, colour(point.place).filled()))?;
            canvas.draw(&Circle::new(at, 7, ink()))?;
        } else {
            canvas.draw(&Circle::new(at, 7 + 4 * rings, colour(point.place).stroke_width(3)))?;
        }
    }
    Ok(())
}
