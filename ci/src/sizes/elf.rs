//! An image's code, function by function, from its unstripped ELF file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, RelocationTarget, SectionFlags, SymbolKind, elf};

use crate::arch::Arch;
use crate::exit;
use crate::symbols::demangled;

/// A function, or code that no symbol names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Function {
    /// Its names, demangled, in the order of the alphabet: several, where functions of the same code were made one.
    pub names: Vec<String>,
    /// Where it lies.
    pub address: u64,
    /// Its code.
    pub code: Vec<u8>,
}

/// An image's code.
#[derive(Clone, Debug)]
pub struct Code {
    /// The architecture.
    pub arch: Arch,
    /// Every byte that can be executed belongs to one of these, in the order of addresses.
    pub functions: Vec<Function>,
    /// Words of its data: each may be the address of a function.
    pub words: BTreeSet<u64>,
    /// Words that nothing writes to once the image runs, by address.
    pub constants: BTreeMap<u64, u64>,
}

impl Code {
    /// Reads an image.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no ELF file of an architecture that is known, or has no symbols (121).
    pub fn read(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).map_err(|error| exit::usage(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    /// As [`Code::read`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes).map_err(|error| exit::usage(format!("this is no ELF file: {error}")))?;
        let arch = match file.architecture() {
            object::Architecture::X86_64 => Arch::X86_64,
            object::Architecture::Aarch64 => Arch::Aarch64,
            other => {
                let known = Arch::existing_names();
                return Err(exit::usage(format!(
                    "code for {other:?}, whose instructions are not known; known: {known}"
                )));
            }
        };
        let functions = functions(&file)?;
        let words = words(&file);
        let constants = constants(&file, &words);
        Ok(Self { arch, functions, words: words.into_values().collect(), constants })
    }

    /// The function that begins at an address.
    pub fn at(&self, address: u64) -> Option<usize> {
        self.functions.binary_search_by_key(&address, |function| function.address).ok()
    }
}

/// Cuts the executable sections into functions, at the symbols.
fn functions(file: &object::File<'_>) -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    let mut known = 0;
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(elf::SHF_EXECINSTR) == 0 {
            continue;
        }
        let code = section.data().context("reading a section")?;
        let range = section.address()..section.address() + code.len() as u64;
        let symbols = symbols(file, &range);
        known += symbols.len();
        let piece = |from: u64, to: u64| code[(from - range.start) as usize..(to - range.start) as usize].to_vec();
        let mut at = range.start;
        let unnamed = |from: u64, to: u64, functions: &mut Vec<Function>| {
            let code = piece(from, to);
            // What fills the space between functions.
            if !code.iter().all(|byte| matches!(byte, 0 | 0x90 | 0xcc)) {
                let name = format!("{}+{:#x}", section.name().unwrap_or("?"), from - range.start);
                functions.push(Function { names: vec![name], address: from, code });
            }
        };
        for (address, (bytes, names)) in &symbols {
            let next = symbols.range(address + 1..).next().map_or(range.end, |(next, _)| *next);
            let end = if *bytes == 0 { next } else { (address + bytes).min(next) };
            unnamed(at, *address, &mut functions);
            functions.push(Function { names: names.clone(), address: *address, code: piece(*address, end) });
            at = end;
        }
        unnamed(at, range.end, &mut functions);
    }
    if known == 0 {
        return Err(exit::usage(
            "it has no symbols of functions: it is stripped. Name the unstripped file, `NAME.debug` beside it",
        ));
    }
    functions.sort_by_key(|function| function.address);
    Ok(functions)
}

/// The symbols in a section: size and names by address.
fn symbols(file: &object::File<'_>, range: &std::ops::Range<u64>) -> BTreeMap<u64, (u64, Vec<String>)> {
    let mut symbols: BTreeMap<u64, (u64, Vec<String>)> = BTreeMap::new();
    for symbol in file.symbols() {
        let is_code = symbol.kind() == SymbolKind::Text || symbol.kind() == SymbolKind::Unknown && symbol.is_global();
        let Ok(name) = symbol.name() else { continue };
        if !is_code || !symbol.is_definition() || !range.contains(&symbol.address()) || name.starts_with('$') {
            continue;
        }
        let (bytes, names) = symbols.entry(symbol.address()).or_default();
        *bytes = symbol.size().max(*bytes);
        names.push(demangled(name));
        names.sort();
        names.dedup();
    }
    symbols
}

/// Words of data, by address, as the loader leaves them.
fn words(file: &object::File<'_>) -> BTreeMap<u64, u64> {
    let mut words = BTreeMap::new();
    for segment in file.segments() {
        let Ok(data) = segment.data() else { continue };
        // Segments begin at multiples of eight.
        for (word, address) in data.chunks_exact(8).zip((segment.address()..).step_by(8)) {
            words.insert(address, u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
    }
    for (address, relocation) in file.dynamic_relocations().into_iter().flatten() {
        if relocation.target() == RelocationTarget::Absolute {
            words.insert(address, relocation.addend() as u64);
        }
    }
    words
}

/// Those in sections that are never written to, or only while the image is relocated.
fn constants(file: &object::File<'_>, words: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let mut constants = BTreeMap::new();
    for section in file.sections().filter(|section| section.address() != 0) {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let name = section.name().unwrap_or_default();
        let written = sh_flags & u64::from(elf::SHF_WRITE) != 0;
        if !written || name.starts_with(".data.rel.ro") || name.starts_with(".got") {
            let range = section.address()..section.address() + section.size();
            constants.extend(words.range(range).map(|(address, word)| (*address, *word)));
        }
    }
    constants
}
