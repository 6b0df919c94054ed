//! A small Hermit image, made by hand, so that the tests need no bare-metal toolchain.

#![allow(dead_code, reason = "each test uses its own part of this")]

use ebbtide_loader::Machine;
use object::elf::*;
use object::{I64, LittleEndian as LE, U16, U32, U64, pod};

/// The machine that hermit-entry's parser is built for on this host.
pub fn machine() -> Machine {
    match std::env::consts::ARCH {
        "aarch64" => Machine::Aarch64,
        _ => Machine::X86_64,
    }
}

/// The types of RELATIVE, ABS64 and GLOB_DAT relocations on that machine.
pub fn relocation_types() -> [u32; 3] {
    match machine() {
        Machine::X86_64 => [R_X86_64_RELATIVE, R_X86_64_64, R_X86_64_GLOB_DAT],
        Machine::Aarch64 => [R_AARCH64_RELATIVE, R_AARCH64_ABS64, R_AARCH64_GLOB_DAT],
    }
}

/// Bytes that start at a multiple of 8 in memory, as a loader has them.
pub struct Aligned {
    words: Vec<u64>,
    length: usize,
}

impl Aligned {
    pub fn new(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Self { words: bytes.chunks(8).map(word).collect(), length: bytes.len() }
    }

    pub fn bytes(&self) -> &[u8] {
        &pod::bytes_of_slice(&self.words)[..self.length]
    }
}

/// The parts of an image; a test changes some of them, then builds the file.
pub struct Image {
    pub header: FileHeader64<LE>,
    /// Read-only, code, data, dynamic section, notes, thread-local storage.
    pub segments: Vec<ProgramHeader64<LE>>,
    pub notes: Vec<u8>,
    /// None, an undefined weak one, one that is defined.
    pub symbols: Vec<Sym64<LE>>,
    pub relocations: Vec<Rela64<LE>>,
    pub dynamic: Vec<Dyn64<LE>>,
    pub text: Vec<u8>,
    pub data: Vec<u8>,
    /// None, dynamic symbols, names.
    pub sections: Vec<SectionHeader64<LE>>,
}

pub const READ_ONLY: usize = 0;
pub const CODE: usize = 1;
pub const DATA: usize = 2;
pub const DYNAMIC: usize = 3;
pub const NOTES: usize = 4;
pub const TLS: usize = 5;

/// Where relocations may write: the data segment's address in the image.
pub const DATA_ADDRESS: u64 = 0x3000;
const CODE_ADDRESS: u64 = 0x2000;
const BSS_BYTES: u64 = 0x1800;

pub fn u16(value: u16) -> U16<LE> {
    U16::new(LE, value)
}

pub fn u32(value: u32) -> U32<LE> {
    U32::new(LE, value)
}

pub fn u64(value: u64) -> U64<LE> {
    U64::new(LE, value)
}

pub fn note(name: &str, kind: u32, description: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [name.len() as u32 + 1, description.len() as u32, kind] {
        note.extend(word.to_le_bytes());
    }
    for part in [[name.as_bytes(), &[0]].concat(), description.to_vec()] {
        note.extend(&part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

pub fn relocation(target: u64, kind: u32, symbol: u32, addend: i64) -> Rela64<LE> {
    Rela64 {
        r_offset: u64(target),
        r_info: Rela64::<LE>::r_info(LE, false, symbol, kind),
        r_addend: I64::new(LE, addend),
    }
}

pub fn dynamic(tag: i64, value: u64) -> Dyn64<LE> {
    Dyn64 { d_tag: I64::new(LE, tag), d_val: u64(value) }
}

fn segment(kind: u32, flags: u32, align: u64) -> ProgramHeader64<LE> {
    ProgramHeader64 {
        p_type: u32(kind),
        p_flags: u32(flags),
        p_offset: u64(0),
        p_vaddr: u64(0),
        p_paddr: u64(0),
        p_filesz: u64(0),
        p_memsz: u64(0),
        p_align: u64(align),
    }
}

fn section(kind: u32, flags: u32, name: u32) -> SectionHeader64<LE> {
    SectionHeader64 {
        sh_name: u32(name),
        sh_type: u32(kind),
        sh_flags: u64(flags.into()),
        sh_addr: u64(0),
        sh_offset: u64(0),
        sh_size: u64(0),
        sh_link: u32(0),
        sh_info: u32(0),
        sh_addralign: u64(8),
        sh_entsize: u64(0),
    }
}

fn symbol(bind: u8, section: u16, value: u64) -> Sym64<LE> {
    Sym64 {
        st_name: u32(0),
        st_info: bind << 4,
        st_other: 0,
        st_shndx: u16(section),
        st_value: u64(value),
        st_size: u64(0),
    }
}

impl Image {
    /// An image that is in order, with one of everything that loaders look at.
    pub fn good() -> Self {
        let [relative, absolute, global] = relocation_types();
        let ident = Ident {
            magic: ELFMAG,
            class: ELFCLASS64,
            data: ELFDATA2LSB,
            version: EV_CURRENT,
            os_abi: 0,
            abi_version: 0,
            padding: [0; 7],
        };
        Self {
            header: FileHeader64 {
                e_ident: ident,
                e_type: u16(ET_DYN),
                e_machine: u16(machine().elf_machine()),
                e_version: u32(EV_CURRENT.into()),
                e_entry: u64(CODE_ADDRESS),
                e_phoff: u64(size_of::<FileHeader64<LE>>() as u64),
                e_shoff: u64(0),
                e_flags: u32(0),
                e_ehsize: u16(size_of::<FileHeader64<LE>>() as u16),
                e_phentsize: u16(size_of::<ProgramHeader64<LE>>() as u16),
                e_phnum: u16(6),
                e_shentsize: u16(size_of::<SectionHeader64<LE>>() as u16),
                e_shnum: u16(3),
                e_shstrndx: u16(2),
            },
            segments: vec![
                segment(PT_LOAD, PF_R, 8),
                segment(PT_LOAD, PF_R | PF_X, 8),
                segment(PT_LOAD, PF_R | PF_W, 8),
                segment(PT_DYNAMIC, PF_R, 8),
                segment(PT_NOTE, PF_R, 4),
                segment(PT_TLS, PF_R, 8),
            ],
            notes: [
                note("GNU", 1, &[6, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0]),
                note("HERMIT", 0x5a00, &[4]),
                note("UHYVEIF", 0x5b00, &[0, 0, 0, 3]),
            ]
            .concat(),
            symbols: vec![symbol(0, 0, 0), symbol(STB_WEAK, 0, 0), symbol(STB_GLOBAL, 1, CODE_ADDRESS)],
            relocations: vec![
                relocation(DATA_ADDRESS, relative, 0, 0x10),
                relocation(DATA_ADDRESS + 8, absolute, 2, 4),
                relocation(DATA_ADDRESS + 16, global, 2, 0),
                relocation(DATA_ADDRESS + 24, global, 1, 0),
                relocation(DATA_ADDRESS + 0x1000, relative, 0, -8),
            ],
            dynamic: vec![],
            text: vec![0x90; 32],
            data: [[0; 32], [7; 32]].concat(),
            sections: vec![section(0, 0, 0), section(SHT_DYNSYM, SHF_ALLOC, 1), section(SHT_STRTAB, 0, 9)],
        }
    }

    /// Lays the parts out one behind the other and fills in where they are; `change` may then spoil that.
    pub fn build(mut self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut end = size_of_val(&self.header) + size_of_val(&self.segments[..]);
        let mut next = |bytes: usize| {
            let start = end.next_multiple_of(8);
            end = start + bytes;
            start as u64
        };
        let [notes, symbols, relocations] =
            [self.notes.len(), size_of_val(&self.symbols[..]), size_of_val(&self.relocations[..])];
        let (notes_at, symbols_at, relocations_at) = (next(notes), next(symbols), next(relocations));
        if self.dynamic.is_empty() {
            let tags = [(DT_RELA, relocations_at), (DT_RELASZ, relocations as u64), (DT_RELAENT, 24), (DT_NULL, 0)];
            self.dynamic = tags.map(|(tag, value)| dynamic(tag, value)).to_vec();
        }
        let dynamics = size_of_val(&self.dynamic[..]);
        let dynamic_at = next(dynamics);
        let (text_at, data_at) = (next(self.text.len()), next(self.data.len()));
        let names_at = next(NAMES.len());
        let table_at = next(0);

        let text = self.text.len() as u64;
        let data = self.data.len() as u64;
        let mut place = |number: usize, offset: u64, address: u64, file: u64, memory: u64| {
            let segment = &mut self.segments[number];
            segment.p_offset = u64(offset);
            segment.p_vaddr = u64(address);
            segment.p_paddr = u64(address);
            segment.p_filesz = u64(file);
            segment.p_memsz = u64(memory);
        };
        place(READ_ONLY, 0, 0, text_at, text_at);
        place(CODE, text_at, CODE_ADDRESS, text, text);
        place(DATA, data_at, DATA_ADDRESS, data, data + BSS_BYTES);
        place(DYNAMIC, dynamic_at, dynamic_at, dynamics as u64, dynamics as u64);
        place(NOTES, notes_at, notes_at, notes as u64, notes as u64);
        place(TLS, data_at, DATA_ADDRESS, 16, 32);
        self.sections[1].sh_offset = u64(symbols_at);
        self.sections[1].sh_size = u64(symbols as u64);
        self.sections[2].sh_offset = u64(names_at);
        self.sections[2].sh_size = u64(NAMES.len() as u64);
        self.header.e_shoff = u64(table_at);
        change(&mut self);

        let mut file = vec![0; table_at as usize];
        let mut put = |at: u64, bytes: &[u8]| file[at as usize..][..bytes.len()].copy_from_slice(bytes);
        put(0, pod::bytes_of(&self.header));
        put(size_of_val(&self.header) as u64, pod::bytes_of_slice(&self.segments));
        put(notes_at, &self.notes);
        put(symbols_at, pod::bytes_of_slice(&self.symbols));
        put(relocations_at, pod::bytes_of_slice(&self.relocations));
        put(dynamic_at, pod::bytes_of_slice(&self.dynamic));
        put(text_at, &self.text);
        put(data_at, &self.data);
        put(names_at, NAMES);
        file.extend(pod::bytes_of_slice(&self.sections));
        file
    }
}

const NAMES: &[u8] = b"\0.dynsym\0.shstrtab\0";

/// A file that is an image and in order.
pub fn good_file() -> Vec<u8> {
    Image::good().build(|_| ())
}
