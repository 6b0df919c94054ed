//! What the host derives from the figures that guests print.

use super::line::Figures;
use super::machine::Machine;

/// Adds what can be derived from a run on a published machine, given the run under `static` on the same machine.
///
/// # Errors
///
/// One line: figures that cannot be, or no reference.
pub fn derive(figures: &mut Figures, machine: &Machine, reference: Option<&Figures>) -> Result<(), String> {
    figures.insert("published_saving_percent".into(), machine.saving_percent);
    if figures["threads"] != machine.stacks as f64 {
        return Err(format!("the guest ran {} threads, {} were asked for", figures["threads"], machine.stacks));
    }
    let (stack, cache) = (figures["stack_kib"], figures["cache_kib"]);
    if figures["oracle_kib"] <= 0.0 {
        return Err("oracle_kib is 0: a sleeping thread has at least one live page".into());
    }
    figures.insert("oracle_ratio".into(), ratio(stack + cache, figures["oracle_kib"]));
    let reference = reference.ok_or("no saving: the reference run under `static` failed")?;
    let total = |figures: &Figures| figures["stack_kib"] + figures["cache_kib"] + figures["table_kib"];
    figures.insert("saving_percent".into(), saving(stack, reference["stack_kib"])?);
    figures.insert("saving_total_percent".into(), saving(total(figures), total(reference))?);
    Ok(())
}

/// What is saved against a reference, in percent.
fn saving(kib: f64, reference_kib: f64) -> Result<f64, String> {
    if reference_kib <= 0.0 {
        return Err("no saving: the reference run under `static` has no stacks".into());
    }
    // Cut, not rounded: almost 75 is not 75. The figures are whole numbers, so what is cut is one exact division.
    Ok((1_000_000.0 * (reference_kib - kib) / reference_kib).floor() / 10_000.0)
}

/// How many times `least` a size is, to four decimals upwards: a bit more than 1.02 is not 1.02.
fn ratio(kib: f64, least: f64) -> f64 {
    (10_000.0 * kib / least).ceil() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::{derive, ratio, saving};
    use crate::compare::line::Figures;
    use crate::compare::machine::Machine;

    fn machine() -> Machine {
        Machine {
            cpu: "Test".into(),
            cores: 1,
            stacks: 100,
            base_kib: 1600,
            dynamic_kib: 420,
            saving_percent: 73.75,
            pages_grown: 5,
        }
    }

    fn figures(stack: f64, cache: f64, table: f64) -> Figures {
        [("threads", 100.0), ("stack_kib", stack), ("cache_kib", cache), ("table_kib", table), ("oracle_kib", 400.0)]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }

    #[test]
    fn savings_are_as_defined() {
        let mut run = figures(400.0, 8.0, 40.0);
        derive(&mut run, &machine(), Some(&figures(1600.0, 0.0, 40.0))).expect("figures that fit");
        assert_eq!(run["saving_percent"], 75.0);
        assert_eq!(run["saving_total_percent"], 72.6829);
        assert_eq!(run["oracle_ratio"], 1.02);
        assert_eq!(run["published_saving_percent"], 73.75);
    }

    #[test]
    fn almost_is_not_enough() {
        assert_eq!(saving(250_001.0, 1_000_000.0), Ok(74.9999));
        assert_eq!(saving(25_000_004.0, 100_000_000.0), Ok(74.9999));
        assert_eq!(saving(250_000.0, 1_000_000.0), Ok(75.0));
        assert_eq!(ratio(1_020_001.0, 1_000_000.0), 1.0201);
        for least in 1..2000 {
            assert_eq!(ratio(f64::from(least * 102), f64::from(least * 100)), 1.02, "{least}");
        }
    }

    #[test]
    fn a_missing_reference_leaves_the_saving_out() {
        let mut run = figures(400.0, 8.0, 40.0);
        assert!(derive(&mut run, &machine(), None).is_err());
        assert!(!run.contains_key("saving_percent"));
        assert_eq!(run["oracle_ratio"], 1.02);
    }

    #[test]
    fn figures_that_cannot_be_are_refused() {
        let mut run = figures(400.0, 8.0, 40.0);
        run.insert("threads".into(), 99.0);
        assert!(derive(&mut run, &machine(), None).expect_err("too few").contains("99"));
        let mut run = figures(400.0, 8.0, 40.0);
        run.insert("oracle_kib".into(), 0.0);
        assert!(derive(&mut run, &machine(), None).expect_err("no oracle").contains("oracle_kib"));
        let empty = figures(0.0, 0.0, 0.0);
        assert!(derive(&mut figures(400.0, 8.0, 40.0), &machine(), Some(&empty)).is_err());
    }
}
