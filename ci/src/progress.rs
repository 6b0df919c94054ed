//! Shows what is going on: a line that moves on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress over a known number of steps, on standard error.
pub enum Progress {
    /// A line that moves.
    Bar(ProgressBar),
    /// Plain lines.
    Lines,
    /// Nothing: somebody else shows the whole.
    Silent,
}

impl Progress {
    /// Starts to show progress over `steps` steps.
    pub fn new(steps: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {elapsed} {wide_msg}");
        let bar = ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self::Silent
    }

    /// Says what is being done now.
    pub fn doing(&self, what: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(what.to_owned()),
            Self::Lines => eprintln!("{what} …"),
            Self::Silent => {}
        }
    }

    /// Says that a step is done, in a line that stays.
    pub fn done(&self, line: &str) {
        self.note(line);
        if let Self::Bar(bar) = self {
            bar.inc(1);
        }
    }

    /// Prints lines that stay, without counting a step.
    pub fn note(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines => eprintln!("{text}"),
            Self::Silent => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
