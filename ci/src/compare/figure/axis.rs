//! Axes: which number stands where, and which are written.

use super::canvas::number;

/// How numbers are laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scale {
    /// The same distance for the same difference; 0 is on it.
    Linear,
    /// The same distance for the same factor; all numbers are above 0.
    Log,
}

/// An axis.
#[derive(Debug)]
pub struct Axis {
    scale: Scale,
    /// The numbers at its ends, as they are laid out.
    ends: [f64; 2],
    /// The pixels of its ends.
    pixels: [i32; 2],
    /// Between two written numbers, as they are laid out.
    step: f64,
}

/// Written numbers on a linear axis, about.
const WRITTEN: f64 = 6.0;

impl Axis {
    /// An axis that has room for all these numbers, and where it is to be `rounded` ends at a round one.
    pub fn over(scale: Scale, values: impl Iterator<Item = f64>, pixels: [i32; 2], rounded: bool) -> Self {
        let (least, most) =
            values.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        if scale == Scale::Linear {
            let most = most.max(f64::MIN_POSITIVE);
            let step = step(most / WRITTEN);
            let end = if rounded { (most / step).ceil() * step } else { most };
            return Self { scale, ends: [0.0, end], pixels, step };
        }
        let (least, most) = (least.max(f64::MIN_POSITIVE).log10(), most.max(f64::MIN_POSITIVE).log10());
        let ends = if rounded { [least.floor(), most.ceil()] } else { [least, most] };
        // One number alone has room around it as well.
        let ends = if ends[0] < ends[1] { ends } else { [ends[0], ends[0] + 1.0] };
        Self { scale, ends, pixels, step: 1.0 }
    }

    /// Where a number stands, in pixels.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = ((value - self.ends[0]) / (self.ends[1] - self.ends[0])).clamp(0.0, 1.0);
        f64::from(self.pixels[0]) + share * f64::from(self.pixels[1] - self.pixels[0])
    }

    /// The numbers that are written, as they are written.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.ends[0] / self.step - 1e-9).ceil() as i64;
        let last = (self.ends[1] / self.step + 1e-9).floor() as i64;
        let value = |tick: i64| match self.scale {
            Scale::Linear => tick as f64 * self.step,
            Scale::Log => 10_f64.powi(tick as i32),
        };
        (first..=last).map(value).map(|value| (value, in_thousands(&number(&value)))).collect()
    }
}

/// The next of the numbers 1, 2, 5, 10, 20, … or of their fractions at or above.
fn step(value: f64) -> f64 {
    let unit = 10_f64.powf(value.log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().map(|factor| factor * unit).find(|round| *round >= value * (1.0 - 1e-9));
    round.unwrap_or(10.0 * unit)
}

/// A number with commas between its thousands.
fn in_thousands(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::{Axis, Scale, in_thousands};

    fn written(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_linear_axis_begins_at_0_and_ends_at_a_round_number() {
        let axis = Axis::over(Scale::Linear, [20.0, 81.0].into_iter(), [500, 100], true);
        assert_eq!(written(&axis), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!((axis.place(0.0), axis.place(100.0), axis.place(50.0)), (500.0, 100.0, 300.0));
        assert_eq!(
            written(&Axis::over(Scale::Linear, [900.0].into_iter(), [0, 450], false)).last().expect("one"),
            "800"
        );
        assert_eq!([0.03, 0.2, 1.0, 6.0].map(super::step), [0.05, 0.2, 1.0, 10.0]);
    }

    #[test]
    fn a_logarithmic_axis_has_a_number_for_each_power_of_ten() {
        let axis = Axis::over(Scale::Log, [1.0, 5000.0].into_iter(), [0, 370], false);
        assert_eq!(written(&axis), ["1", "10", "100", "1,000"]);
        assert!((axis.place(5000.0) - 370.0).abs() < 1e-9 && (axis.place(10.0) - 100.0).abs() < 0.1);
        assert_eq!(axis.place(0.0), 0.0, "what cannot be there stands at the end");
        assert_eq!(written(&Axis::over(Scale::Log, [4.0, 90_000.0].into_iter(), [9, 0], true)).len(), 6);
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(
            ["0", "12.5", "999", "1000", "1234567.5"].map(in_thousands),
            ["0", "12.5", "999", "1,000", "1,234,567.5"]
        );
    }
}
