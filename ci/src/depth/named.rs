//! Names for what a guest has told: of ways, and of the functions of their chains.

use super::function::{is_first, plain};
use super::parse::{Of, Told, Way};
use super::report::{Entry, Frame};
use crate::arch::Arch;
use crate::symbols::Lookup;

/// The ways with names: those with the same name are one, the deepest of them; in the order of kinds, the deepest first.
pub fn entries(told: &Told, arch: Arch, symbols: &dyn Lookup) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut ways: Vec<_> = told.ways.iter().collect();
    ways.sort_by_key(|way| (order(&way.kind), std::cmp::Reverse(way.bytes)));
    for way in ways {
        let entry = entry(way, told.image, arch, symbols);
        // A closure that was compiled twice, and the instructions of one way, have several addresses.
        if !entries.iter().any(|known| known.kind == entry.kind && known.name == entry.name) {
            entries.push(entry);
        }
    }
    entries
}

/// The kinds in the order in which they are shown.
const KINDS: [&str; 6] = ["thread", "user", "call", "interrupt", "trap", "other"];

fn order(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len())
}

fn entry(way: &Way, image: u64, arch: Arch, symbols: &dyn Lookup) -> Entry {
    let (name, position) = match &way.of {
        Of::Function(address) => begins(symbols, address.wrapping_sub(image), *address),
        Of::Word(word) if way.kind == "trap" => (trap(arch, word), None),
        Of::Word(word) => (word.clone(), None),
    };
    let ends = way.calls.iter().skip(1).map(|(_, depth)| *depth);
    let last = way.calls.last().map_or(way.bytes, |(_, depth)| *depth);
    let mut chain: Vec<_> = way
        .calls
        .iter()
        .zip(ends.chain([last]))
        .enumerate()
        .map(|(number, ((address, begin), end))| {
            // But for the innermost, an address is where a call returns to, which may be another function's or line's.
            let at = address.wrapping_sub(image).wrapping_sub(u64::from(number > 0));
            let (function, position) = function(symbols, at, *address);
            Frame { function, position, bytes: begin - end }
        })
        .collect();
    if last > 0 {
        chain.push(Frame { function: above(&way.kind).to_owned(), position: None, bytes: last });
    }
    chain.reverse();
    Entry {
        kind: way.kind.clone(),
        name,
        position,
        bytes: way.bytes,
        thread: way.thread,
        thread_name: (!way.name.is_empty()).then(|| way.name.clone()),
        chain,
    }
}

/// What stands for what lies above the calls that frame pointers lead to.
fn above(kind: &str) -> &'static str {
    match kind {
        "call" | "user" => "[before user mode]",
        "interrupt" | "trap" => "[trap frame]",
        _ => "[above]",
    }
}

/// The function that begins at an offset. Where what the kernel calls it by begins, that says nothing of it.
fn begins(symbols: &dyn Lookup, offset: u64, address: u64) -> (String, Option<String>) {
    let (name, position) = function(symbols, offset, address);
    let is_called_so = symbols.function(offset).is_some_and(|name| is_first(&name));
    (name, position.filter(|_| !is_called_so))
}

/// The function at an offset from the image's first byte, and the line of its source; the address itself where it has no name.
fn function(symbols: &dyn Lookup, offset: u64, address: u64) -> (String, Option<String>) {
    let Some(name) = symbols.function(offset) else { return (format!("{address:#x}"), None) };
    // The outermost: the function's own line.
    let position = symbols.places(offset).pop().and_then(|place| place.position);
    (plain(&name), position)
}

/// Exceptions of x86_64, as the SDM has them (volume 3, table 6-1).
const X86_64: [&str; 22] = [
    "divide error",
    "debug exception",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack-segment fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point exception",
    "virtualization exception",
    "control protection exception",
];
/// What the entries of aarch64's table of vectors are for, four for each of where the CPU comes from.
const AARCH64: [&str; 4] = ["synchronous exception", "IRQ", "FIQ", "SError"];

/// A trap's name, from its number on the architecture.
pub fn trap(arch: Arch, number: &str) -> String {
    let name = number.parse::<usize>().ok().and_then(|number| match arch {
        Arch::X86_64 => X86_64.get(number).copied(),
        Arch::Aarch64 => AARCH64.get(number % AARCH64.len()).copied().filter(|_| number < 4 * AARCH64.len()),
    });
    name.map_or_else(|| format!("vector {number}"), |name| format!("{name} (vector {number})"))
}
