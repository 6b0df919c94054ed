//! `tests/stack-sizes/calls.toml`: what machine code does not tell. The file's head documents its keys.

use regex::Regex;
use serde::Deserialize;

use super::walk::{Leave, Moves};
use crate::arch::Arch;
use crate::exit;

/// Most recursions of a list: a search for the largest chain keeps the count of each.
pub const MOST_RECURSIONS: usize = 8;

/// The whole list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Where stacks begin to be used.
    #[serde(default)]
    pub entry: Vec<Entry>,
    /// Functions that leave their stack for another one.
    #[serde(default)]
    pub border: Vec<Border>,
    /// Who is called where the code does not say so.
    #[serde(default)]
    pub calls: Vec<Calls>,
    /// How often functions may call themselves.
    #[serde(default)]
    pub recursion: Vec<Recursion>,
    /// Functions that end the run.
    #[serde(default)]
    pub end: Vec<Named>,
    /// Functions whose address is taken, but not to call them.
    #[serde(default)]
    pub taken: Vec<Named>,
}

/// An entry point.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// The function.
    pub function: Pattern,
    /// Functions that its chains do not go into.
    #[serde(default)]
    pub without: Vec<Pattern>,
    /// Bytes that lie on its stack already.
    #[serde(default)]
    above: Bytes,
    /// Bytes of its stack.
    #[serde(default)]
    room: Bytes,
    /// Why.
    #[expect(dead_code, reason = "for who reads the file")]
    reason: Reason,
}

impl Entry {
    /// Bytes that lie on its stack already.
    pub fn above(&self, arch: Arch) -> i64 {
        self.above.on(arch).unwrap_or(0)
    }

    /// Bytes of its stack, if that is the same for all.
    pub fn room(&self, arch: Arch) -> Option<i64> {
        self.room.on(arch)
    }
}

/// Bytes on each architecture.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bytes {
    x86_64: Option<i64>,
    aarch64: Option<i64>,
}

impl Bytes {
    fn on(self, arch: Arch) -> Option<i64> {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        }
    }
}

/// A function that leaves its stack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Border {
    function: Pattern,
    /// `leaves`, `arrives` or `switches`.
    #[serde(default)]
    moves: Moves,
    /// Whether code to which nothing leads begins as the function does.
    #[serde(default)]
    stubs: bool,
    /// Whether it comes back, if its code does not say so.
    returns: Option<bool>,
    /// Who goes on at the deepest place of its stack, without being called.
    #[serde(default)]
    then: Vec<Pattern>,
    #[expect(dead_code, reason = "for who reads the file")]
    reason: Reason,
}

/// Who is called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// The caller.
    pub function: Pattern,
    /// The instruction; without it, all that do not say whom they call.
    pub through: Option<Pattern>,
    /// Who may be called.
    pub targets: Vec<Pattern>,
    /// Whether an image may have none of them: then it never calls there.
    #[serde(default)]
    pub none: bool,
    #[expect(dead_code, reason = "for who reads the file")]
    reason: Reason,
}

/// Functions through which a recursion goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recursion {
    /// The functions.
    through: Vec<Pattern>,
    /// How often they may stand on a stack at once, all together.
    pub most: u8,
    #[expect(dead_code, reason = "for who reads the file")]
    reason: Reason,
}

/// A function.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The function.
    pub function: Pattern,
    #[expect(dead_code, reason = "for who reads the file")]
    reason: Reason,
}

/// Why something stands in the list: not empty.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Reason;

impl TryFrom<String> for Reason {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() { Err("`reason` says nothing") } else { Ok(Self) }
    }
}

/// A name, or names: `*` stands for any text.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Regex::new(&format!("^{}$", regex::escape(&text).replace(r"\*", ".*"))).map(Self)
    }
}

impl Pattern {
    /// Whether it fits one of a function's names.
    pub fn fits(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.0.is_match(name))
    }

    /// Whether it fits a text.
    pub fn fits_text(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// When the text is none (121).
    pub fn parse(path: &str, text: &str) -> anyhow::Result<Self> {
        toml::from_str(text)
            .map_err(|error| exit::usage(format!("{path} is no list of calls: {}", error.to_string().trim_end())))
    }

    fn borders<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Border> {
        self.border.iter().filter(|border| border.function.fits(names))
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    ///
    /// When there are too many recursions (121).
    pub fn check(&self) -> anyhow::Result<()> {
        if self.recursion.len() <= MOST_RECURSIONS {
            return Ok(());
        }
        Err(exit::usage(format!("the lists of calls hold more than {MOST_RECURSIONS} recursions; put some together")))
    }

    /// Adds what another list says.
    pub fn add(&mut self, more: Self) {
        self.entry.extend(more.entry);
        self.border.extend(more.border);
        self.calls.extend(more.calls);
        self.recursion.extend(more.recursion);
        self.end.extend(more.end);
        self.taken.extend(more.taken);
    }

    /// What it says of a function that leaves its stack.
    pub fn leave(&self, names: &[String]) -> Leave {
        let mut leave = Leave::default();
        for border in self.borders(names) {
            leave.stubs |= border.stubs;
            if border.moves != Moves::Unknown {
                leave.moves = border.moves;
            }
        }
        leave
    }

    /// Who goes on, without being called, on the stack that a function has left.
    pub fn then<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Pattern> {
        self.borders(names).flat_map(|border| &border.then)
    }

    /// Whether a function ends the run.
    pub fn ends(&self, names: &[String]) -> bool {
        self.end.iter().any(|end| end.function.fits(names))
    }

    /// Whether a function's address is taken for another purpose than a call.
    pub fn is_only_taken(&self, names: &[String]) -> bool {
        self.taken.iter().any(|taken| taken.function.fits(names))
    }

    /// In which of the recursions a function is counted, if it is in one.
    pub fn recursion(&self, names: &[String]) -> Option<usize> {
        self.recursion.iter().position(|one| one.through.iter().any(|through| through.fits(names)))
    }

    /// Whether a function comes back, if the list says so.
    pub fn returns(&self, names: &[String]) -> Option<bool> {
        self.borders(names).find_map(|border| border.returns)
    }
}
