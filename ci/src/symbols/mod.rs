//! Names for the addresses of a guest's backtrace.
//!
//! The guest knows addresses only: names would make its image larger than all its code. It prints
//!
//! ```text
//! backtrace (image at 0x200000):
//!   #0 0x2041f3
//!   #1 0x20aa80
//! ```
//!
//! and this module adds function, file and line to each frame from the unstripped ELF file, which may be linked at another
//! address: at 0, if it is relocated. If the report above says what address was touched, it also adds a line with the static
//! that lies there:
//!
//! ```text
//! ebbtide: thread 3 ended: page fault (write, which is forbidden there) at address 0x2381c8
//!   at 0x2041f3, stack pointer 0x400000ffcfe8, touched 0x2381c8
//! backtrace (image at 0x200000):
//!   touched 0x2381c8: sandbox::SECRET
//!   #0 0x2041f3 …
//! ```

mod console;

use std::fmt::Write;
use std::path::Path;

use addr2line::{Loader, Location};
use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};

pub use console::Console;

/// What turns an address of the image into names.
pub trait Lookup {
    /// The functions that an address lies in, so many bytes behind the image's first, the innermost first: several where
    /// calls were inlined.
    fn places(&self, offset: u64) -> Vec<Place>;

    /// The function whose code an address lies in, whatever was inlined there.
    fn function(&self, offset: u64) -> Option<String>;

    /// The static that an address lies in, so many bytes behind the image's first, and how far.
    fn data(&self, offset: u64) -> Option<(String, u64)>;
}

/// A place in the source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The function's name.
    pub function: String,
    /// File and line, where known.
    pub position: Option<String>,
}

/// The symbols of one unstripped ELF file.
pub struct Symbols {
    loader: Loader,
    /// The address that the image's first byte is linked at.
    start: u64,
    /// Every static, in the order of addresses.
    data: Vec<Data>,
}

/// A static: where it is linked, and its name as the compiler has it.
#[derive(Debug)]
struct Data {
    address: u64,
    bytes: u64,
    name: String,
}

impl Symbols {
    /// Loads the symbols of a file; nothing if it has none that can be read.
    pub fn load(elf: &Path) -> Option<Self> {
        let file = std::fs::read(elf).ok()?;
        let parsed = object::File::parse(&*file).ok()?;
        let start = parsed.segments().map(|segment| segment.address()).min().unwrap_or(0);
        let statics = parsed.symbols().filter(|symbol| symbol.kind() == SymbolKind::Data && symbol.is_definition());
        let mut data: Vec<_> = statics
            .filter_map(|symbol| {
                Some(Data { address: symbol.address(), bytes: symbol.size(), name: symbol.name().ok()?.to_owned() })
            })
            .collect();
        data.sort_by_key(|data| data.address);
        Some(Self { loader: Loader::new(elf).ok()?, start, data })
    }
}

impl Lookup for Symbols {
    fn places(&self, offset: u64) -> Vec<Place> {
        let Some(address) = self.start.checked_add(offset) else { return Vec::new() };
        let places = self.inlined(address);
        if !places.is_empty() {
            return places;
        }
        let symbol = self.loader.find_symbol(address);
        symbol.map(|name| place(name, self.position(address))).into_iter().collect()
    }

    fn function(&self, offset: u64) -> Option<String> {
        self.loader.find_symbol(self.start.checked_add(offset)?).map(demangled)
    }

    fn data(&self, offset: u64) -> Option<(String, u64)> {
        let address = self.start.checked_add(offset)?;
        let behind = self.data.partition_point(|data| data.address <= address);
        // A symbol of no size, which the linker makes, may stand behind the one that the address lies in.
        let holds = |data: &&Data| address - data.address < data.bytes;
        let data = self.data[..behind].iter().rev().take(NEIGHBOURS).find(holds)?;
        Some((demangled(&data.name), address - data.address))
    }
}

/// Symbols that are looked at for one address.
const NEIGHBOURS: usize = 8;

impl Symbols {
    fn inlined(&self, address: u64) -> Vec<Place> {
        let mut places = Vec::new();
        // A guest may print any number; the search adds one to it.
        if address == u64::MAX {
            return places;
        }
        let Ok(mut frames) = self.loader.find_frames(address) else {
            return places;
        };
        while let Ok(Some(frame)) = frames.next() {
            let Some(function) = &frame.function else {
                continue;
            };
            let position = frame.location.and_then(shown);
            if let Ok(name) = function.raw_name() {
                places.push(place(&name, position));
            }
        }
        places
    }

    /// The line that an address belongs to, where no function's description says so: in tables of lines alone, which is
    /// what images have, only functions into which others were inlined are described.
    fn position(&self, address: u64) -> Option<String> {
        self.loader.find_location(address).ok().flatten().and_then(shown)
    }
}

fn shown(location: Location<'_>) -> Option<String> {
    Some(format!("{}:{}", short(location.file?), location.line.unwrap_or(0)))
}

/// A guest's output with names in its backtraces, for reports of runs that were not streamed.
pub fn with_names(output: &str, elf: &Path) -> String {
    let symbols = Symbols::load(elf).map(|symbols| Box::new(symbols) as Box<dyn Lookup + Send>);
    let mut named = Vec::new();
    let mut console = Console::new(&mut named, symbols);
    // Writing to memory cannot fail.
    let _ = std::io::Write::write_all(&mut console, output.as_bytes());
    drop(console);
    String::from_utf8_lossy(&named).into_owned()
}

/// A file of the repository without its root, which builds call `.` (and a debugger's reader puts behind a folder).
fn short(file: &str) -> &str {
    let file = file.rsplit("/./").next().unwrap_or(file);
    file.strip_prefix("./").unwrap_or(file)
}

fn place(mangled: &str, position: Option<String>) -> Place {
    Place { function: demangled(mangled), position }
}

/// A function's name as people write it, without hashes.
pub fn demangled(mangled: &str) -> String {
    let name = addr2line::demangle_auto(mangled.into(), None);
    // `{:#}` without the hash is not to be had from this function: `path::function::h0123456789abcdef`.
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => path.to_owned(),
        _ => name.into_owned(),
    }
}

/// The address that a line of a report says was touched.
fn touched(line: &str) -> Option<u64> {
    let (_, rest) = match line.rsplit_once("touched ") {
        Some(found) => found,
        None => line.split_once("page fault (")?.1.split_once(" at address ")?,
    };
    let is_end = |byte: char| byte != 'x' && !byte.is_ascii_hexdigit();
    number(rest.split(is_end).next()?)
}

/// The static that was touched, with its address; nothing if none is known there.
fn named_data(symbols: &dyn Lookup, base: u64, address: u64) -> Option<String> {
    let (name, offset) = symbols.data(address.checked_sub(base)?)?;
    let inside = if offset == 0 { String::new() } else { format!("+{offset:#x}") };
    Some(format!("  touched {address:#x}: {name}{inside}"))
}

/// The image's address in the head of a backtrace.
fn head(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("backtrace (image at ")?;
    number(rest.trim_end().strip_suffix("):")?)
}

/// Number and address of a frame.
fn frame(line: &str) -> Option<(u64, u64)> {
    let (index, address) = line.trim().strip_prefix('#')?.split_once(' ')?;
    Some((index.parse().ok()?, number(address)?))
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// A frame with its names, or without where none are known.
fn named(symbols: &dyn Lookup, base: u64, (index, address): (u64, u64)) -> String {
    let mut text = format!("  #{index} {address:#x}");
    // A return address may be the first byte of the next function or line; the call itself lies before it.
    let call = if index == 0 { address } else { address.saturating_sub(1) };
    let places = |address: u64| address.checked_sub(base).map(|offset| symbols.places(offset)).unwrap_or_default();
    let mut found = places(call);
    if found.is_empty() {
        // The first frame of a panic is a return address too, and may lie behind its function's last instruction.
        found = places(address.saturating_sub(1));
    }
    for (depth, place) in found.iter().enumerate() {
        let lead = if depth == 0 { " " } else { "\n       inlined into " };
        let _ = write!(text, "{lead}{}", place.function);
        if let Some(position) = &place.position {
            let _ = write!(text, " at {position}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    #[test]
    fn heads_and_frames() {
        assert_eq!(head("backtrace (image at 0x200000):\r"), Some(0x20_0000));
        assert_eq!(head("[1.5 cpu0 main] backtrace (image at 0x0):"), Some(0));
        assert_eq!(head("backtrace (image at 200000):"), None);
        assert_eq!(frame("  #12 0x2041f3\r"), Some((12, 0x20_41f3)));
        assert_eq!(frame("  # 0x2041f3"), None);
        assert_eq!(frame("thread #1 0x0"), None);
    }

    #[test]
    fn hashes_are_left_out() {
        let name = "_ZN4core9panicking9panic_fmt17h0123456789abcdefE";
        assert_eq!(place(name, None).function, "core::panicking::panic_fmt");
        assert_eq!(place("_start", None).function, "_start");
    }

    #[test]
    fn files_lose_the_repositorys_root() {
        assert_eq!(short("./core/src/lib.rs"), "core/src/lib.rs");
        assert_eq!(short("platforms/unikernel/./examples/a/src/main.rs"), "examples/a/src/main.rs");
        assert_eq!(short("/home/a/app/src/main.rs"), "/home/a/app/src/main.rs");
    }

    #[test]
    fn what_was_touched_is_found_in_reports() {
        assert_eq!(touched("  at 0x1000, stack pointer 0x2000, touched 0x30a8\r"), Some(0x30a8));
        assert_eq!(touched("ebbtide: page fault (read, which is forbidden there) at address 0x8 in thread 3"), Some(8));
        assert_eq!(touched("ebbtide: page fault in the handler of another one (touched 0x8) in thread 3"), Some(8));
        assert_eq!(touched("  at 0x1000, stack pointer 0x2000"), None);
        assert_eq!(touched("nobody touched anything at address 0x1000"), None);
    }

    static MARKED: [AtomicU8; 3] = [const { AtomicU8::new(7) }; 3];

    #[test]
    fn this_program_has_symbols() {
        let path = std::env::current_exe().unwrap();
        let symbols = Symbols::load(&path).expect("an ELF or Mach-O file");
        assert!(symbols.places(u64::MAX).is_empty());
        assert_eq!(symbols.data(u64::MAX), None);
        if cfg!(target_os = "linux") {
            MARKED[2].store(1, Ordering::Relaxed);
            let marked = symbols.data.iter().find(|data| demangled(&data.name).ends_with("::MARKED"));
            let address = marked.expect("a static that is used").address - symbols.start;
            for offset in 0..3 {
                let (name, found) = symbols.data(address + offset).expect("it lies there");
                assert!(name.ends_with("symbols::tests::MARKED"), "{name}");
                assert_eq!(found, offset);
            }
        }
    }
}
