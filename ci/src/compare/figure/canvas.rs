//! What figures are drawn on and with: sizes, colours, axes and the legend.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height of every figure, in pixels of its own; a browser scales it.
pub const SIZE: (u32, u32) = (960, 540);

/// What lines and letters have for a colour where the paper is white; a browser puts in that of its text.
pub const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);

/// Okabe and Ito's colours, which people tell apart who see red and green alike ("Color Universal Design", 2008); the reference is grey.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0xf0, 0xe4, 0x42),
];
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// What a figure is drawn on.
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A picture, drawn: an SVG element without a background.
#[derive(Clone, Debug)]
pub struct Picture(String);

impl Picture {
    /// Draws one.
    pub fn draw(what: impl FnOnce(&Canvas<'_>) -> Drawn) -> Option<Self> {
        let mut text = String::new();
        let drawn = what(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area());
        drawn.is_ok().then_some(Self(text))
    }

    /// The text of a file: on white paper, wherever it is looked at.
    pub fn file(&self) -> String {
        let (head, rest) = self.0.split_once(">\n").unwrap_or((&self.0, ""));
        format!("{head}>\n<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n{rest}")
    }

    /// The text of an element of a page, in that page's colours, with a title for who cannot see it.
    pub fn element(&self, title: &str) -> String {
        let (head, rest) = self.0.split_once(">\n").unwrap_or((&self.0, ""));
        let ink = format!("#{:02X}{:02X}{:02X}", INK.0, INK.1, INK.2);
        let rest = rest.replace(&ink, "currentColor");
        format!("{head} role=\"img\" aria-label=\"{title}\">\n{rest}")
    }
}

/// The colour of the `place`-th of the policies: the first is the reference.
pub fn colour(place: usize) -> RGBColor {
    place.checked_sub(1).map_or(GREY, |place| COLOURS[place % COLOURS.len()])
}

/// The ink for lines.
pub fn ink() -> ShapeStyle {
    INK.stroke_width(1)
}

/// The strokes that help the eye, and mean nothing by themselves.
pub fn grid() -> ShapeStyle {
    GREY.mix(0.35).stroke_width(1)
}

/// Letters of a size, anchored where their place is.
pub fn letters(size: u32, at: HPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(&INK).pos(Pos::new(at, VPos::Center))
}

/// What drawing returns.
pub type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Writes a title over the canvas, and the legend below it; returns where these end.
pub fn heading(canvas: &Canvas<'_>, title: &str, names: &[&str]) -> Drawn<i32> {
    const COLUMNS: usize = 4;
    canvas.draw(&Text::new(title.to_owned(), (24, 24), letters(19, HPos::Left)))?;
    for (place, name) in names.iter().enumerate() {
        let x = 76 + (place % COLUMNS) as i32 * 218;
        let y = 54 + (place / COLUMNS) as i32 * 22;
        canvas.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], colour(place).filled()))?;
        canvas.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], ink()))?;
        canvas.draw(&Text::new((*name).to_owned(), (x + 18, y), letters(14, HPos::Left)))?;
    }
    Ok(54 + names.len().div_ceil(COLUMNS) as i32 * 22)
}

/// Writes over the axis to the left what it shows, where letters need not be turned; returns where that ends.
pub fn vertical_axis(canvas: &Canvas<'_>, what: &str, y: i32) -> Drawn<i32> {
    canvas.draw(&Text::new(what.to_owned(), (24, y + 4), letters(15, HPos::Left)))?;
    Ok(y + 14)
}

/// A number at an axis.
pub fn number(value: &f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// The next round number at or above, so that an axis ends at a line.
pub fn round_up(value: f64) -> f64 {
    let unit = 10_f64.powf(value.max(1e-9).log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|factor| factor * unit)
        .find(|round| *round >= value - unit * 1e-9)
        .unwrap_or(value)
}
