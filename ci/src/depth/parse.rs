//! What the guest says: a line that tells how many ways follow, and one for each.
//!
//! ```text
//! ebbtide: ways into the kernel: image=0x200000 ways=2 all=1
//! ebbtide: way kind=thread of=0x20df50 bytes=528 thread=10 name=main calls=0x228457:528,0x22c66a:400,0x207661:0
//! ebbtide: way kind=call of=Sleep bytes=1352 thread=53 name= calls=0x23a5e0:1352,0x24adc9:416
//! ```

use anyhow::{Context, Result, ensure};

use crate::exit::{self, Code};
use crate::told::{fields, number};

/// How the line begins that tells how many follow.
const HEAD: &str = "ebbtide: ways into the kernel: ";
/// How those begin that do.
const WAY: &str = "ebbtide: way ";

/// Whether a line is one of these.
pub fn is_told(line: &[u8]) -> bool {
    line.starts_with(HEAD.as_bytes()) || line.starts_with(WAY.as_bytes())
}

/// Whether a line that is not yet whole may become one of these.
pub fn may_be_told(begin: &[u8]) -> bool {
    is_told(begin) || HEAD.as_bytes().starts_with(begin) || WAY.as_bytes().starts_with(begin)
}

/// What a guest has told.
#[derive(Debug, Eq, PartialEq)]
pub struct Told {
    /// Where the image lies.
    pub image: u64,
    /// There was room for all ways.
    pub all: bool,
    /// The ways, as they were first seen.
    pub ways: Vec<Way>,
}

/// The deepest use by one way.
#[derive(Debug, Eq, PartialEq)]
pub struct Way {
    /// What kind of way it is: `thread`, `user`, `call`, `interrupt`, `trap` or `other`.
    pub kind: String,
    /// Which one.
    pub of: Of,
    /// Bytes in use.
    pub bytes: u64,
    /// The thread's number.
    pub thread: u64,
    /// Its name, if it has one.
    pub name: String,
    /// Its calls, the innermost first: an address, and at how many bytes below the stack's top the part of the stack begins.
    pub calls: Vec<(u64, u64)>,
}

/// Which way of its kind.
#[derive(Debug, Eq, PartialEq)]
pub enum Of {
    /// That of the function at this address.
    Function(u64),
    /// That of this name or number.
    Word(String),
}

/// Reads what stands in a guest's output; nothing if it has told nothing.
///
/// # Errors
///
/// A line that is not as it has to be, which is named; or fewer lines than were announced.
pub fn read(output: &str) -> Result<Option<Told>> {
    let mut lines = output.lines().map(|line| line.trim_end_matches('\r'));
    let Some(head) = lines.find_map(|line| line.strip_prefix(HEAD)) else { return Ok(None) };
    wrong_in(head_of(head), || format!("{HEAD}{head}")).and_then(|(image, number, all)| {
        let ways = lines
            .filter_map(|line| line.strip_prefix(WAY))
            .map(|line| wrong_in(way_of(line), || format!("{WAY}{line}")))
            .collect::<Result<Vec<_>>>()?;
        if ways.len() as u64 != number {
            return Err(exit::failure(
                Code::CRASHED,
                format!("the guest announced {number} ways into the kernel, and {} lines tell of one", ways.len()),
            ));
        }
        Ok(Some(Told { image, all, ways }))
    })
}

fn wrong_in<T>(read: Result<T>, line: impl FnOnce() -> String) -> Result<T> {
    read.map_err(|wrong| exit::failure(Code::CRASHED, format!("{wrong:#}, in the guest's line `{}`", line())))
}

fn head_of(line: &str) -> Result<(u64, u64, bool)> {
    let [image, ways, all] = fields(line, ["image", "ways", "all"])?;
    Ok((address(image)?, number(ways)?, number(all)? != 0))
}

fn way_of(line: &str) -> Result<Way> {
    let [kind, of, bytes, thread, name, calls] = fields(line, ["kind", "of", "bytes", "thread", "name", "calls"])?;
    let bytes = number(bytes)?;
    let calls = calls.split(',').filter(|call| !call.is_empty()).map(call_of).collect::<Result<Vec<_>>>()?;
    let mut last = bytes;
    for (_, depth) in &calls {
        ensure!(*depth <= last, "a caller's part of the stack begins at {depth}, below {last}");
        last = *depth;
    }
    let of = if of.starts_with("0x") { Of::Function(address(of)?) } else { Of::Word(of.to_owned()) };
    Ok(Way { kind: kind.to_owned(), of, bytes, thread: number(thread)?, name: name.to_owned(), calls })
}

fn call_of(text: &str) -> Result<(u64, u64)> {
    let (at, depth) = text.split_once(':').with_context(|| format!("`{text}` is no ADDRESS:BYTES"))?;
    Ok((address(at)?, number(depth)?))
}

fn address(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").with_context(|| format!("`{text}` is no address"))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("`{text}` is no address"))
}
