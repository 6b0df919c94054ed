//! The ACPI table that names the CPUs: the Multiple APIC Description Table (ACPI 6.5, 5.2.5 to 5.2.12).
//!
//! ```text
//! RSDP ──► XSDT or RSDT: addresses of tables ──► MADT "APIC": header, 8 bytes, entries of a type and a length each
//! ```
//!
//! Nothing is believed: lengths are within bounds and sums are zero, or the table is no table.

use core::fmt;

use ebbtide_core::cpu::MAX_CPUS;

const HEADER_BYTES: usize = 36;
const RSDP_BYTES: usize = 20;
const EXTENDED_RSDP_BYTES: usize = 36;

/// Where the MADT's entries begin.
const ENTRIES_AT: usize = 44;

/// The longest table that is believed, in bytes: 2,048 CPUs take half of it.
const MAX_BYTES: usize = 64 << 10;

/// In the flags of a CPU: it can be used.
const ENABLED: u32 = 1 << 0;

/// Why no CPUs are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadtError {
    /// There is no root pointer where it should be.
    Root,
    /// A table has another name, an absurd length or a wrong sum.
    Damaged,
    /// There is no such table.
    Missing,
    /// An entry does not fit where it stands.
    Entry,
}

impl fmt::Display for MadtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the ACPI tables have no root pointer",
            Self::Damaged => "an ACPI table is damaged",
            Self::Missing => "no ACPI table names the CPUs",
            Self::Entry => "the ACPI table that names the CPUs has an entry that does not fit",
        })
    }
}

impl core::error::Error for MadtError {}

/// The CPUs that can be used, each once, by number: 0 is the one that boots, the others follow in the order of the table.
///
/// Two numbers for one APIC identifier would be fatal: to start the second would reset the first, and what is meant for one would
/// reach the other. Some firmware lists a CPU twice, as a local APIC and as a local x2APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// Identifiers of the first ones.
    ids: [u32; MAX_CPUS],
    /// How many there are, those included of which the identifier is not kept.
    count: usize,
    /// The table has named the one that boots.
    names_boot_cpu: bool,
    /// How many entries name one that was named before, and the first of these.
    again: Option<(usize, u32)>,
}

impl Cpus {
    /// The CPU that boots is one in any case.
    pub const fn new(boot: u32) -> Self {
        let mut ids = [0; MAX_CPUS];
        ids[0] = boot;
        Self { ids, count: 1, names_boot_cpu: false, again: None }
    }

    /// Reads the table, as [`read`] does.
    ///
    /// # Errors
    ///
    /// Why the others cannot be known.
    pub fn read<'a>(
        boot: u32,
        root: u64,
        memory: &mut dyn FnMut(u64, usize) -> Option<&'a [u8]>,
    ) -> Result<Self, MadtError> {
        let mut cpus = Self::new(boot);
        read(root, memory, &mut |id| cpus.add(id))?;
        Ok(cpus)
    }

    fn add(&mut self, id: u32) {
        if id == self.ids[0] && !self.names_boot_cpu {
            self.names_boot_cpu = true;
        } else if self.ids().contains(&id) {
            let (count, first) = self.again.unwrap_or((0, id));
            self.again = Some((count + 1, first));
        } else {
            if let Some(place) = self.ids.get_mut(self.count) {
                *place = id;
            }
            self.count += 1;
        }
    }

    /// How many there are, which may be more than [`ids`](Self::ids).
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The APIC identifiers of those that can be numbered.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.count.min(MAX_CPUS)]
    }

    /// What to say of a table that names a CPU again.
    pub fn warning(&self) -> Option<impl fmt::Display> {
        self.again.map(|(count, first)| NamedAgain { count, first })
    }
}

/// How many entries name a CPU again, and the APIC identifier of the first.
struct NamedAgain {
    count: usize,
    first: u32,
}

impl fmt::Display for NamedAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, first } = *self;
        write!(
            f,
            "the ACPI tables name a CPU twice, first APIC identifier {first}: such entries are left out ({count})"
        )
    }
}

/// Calls `cpu` with the APIC identifier of each CPU that can be used, in the table's order. `root` is the physical address
/// of the root pointer; `memory` returns so many bytes at a physical address, if they can be read.
///
/// # Errors
///
/// Why that cannot be known. `cpu` may have been called before.
pub fn read<'a>(
    root: u64,
    memory: &mut dyn FnMut(u64, usize) -> Option<&'a [u8]>,
    cpu: &mut dyn FnMut(u32),
) -> Result<(), MadtError> {
    let (address, entry_bytes, name) = main_table(root, memory)?;
    let tables = table(address, name, memory)?;
    for address in tables[HEADER_BYTES..].chunks_exact(entry_bytes) {
        let address = address.iter().rev().fold(0, |address, byte| address << 8 | u64::from(*byte));
        if memory(address, HEADER_BYTES).is_some_and(|header| header.starts_with(b"APIC")) {
            return cpus(table(address, *b"APIC", memory)?, cpu);
        }
    }
    Err(MadtError::Missing)
}

/// The table that names all others: where it is, how long each address in it is, and its name.
fn main_table<'a>(
    root: u64,
    memory: &mut dyn FnMut(u64, usize) -> Option<&'a [u8]>,
) -> Result<(u64, usize, [u8; 4]), MadtError> {
    let pointer = memory(root, RSDP_BYTES).ok_or(MadtError::Root)?;
    if !pointer.starts_with(b"RSD PTR ") || !adds_up(pointer) {
        return Err(MadtError::Root);
    }
    let revision = pointer[15];
    if revision >= 2 {
        let pointer = memory(root, EXTENDED_RSDP_BYTES).ok_or(MadtError::Root)?;
        let address = u64::from(word(pointer, 28)) << 32 | u64::from(word(pointer, 24));
        if adds_up(pointer) && address != 0 {
            return Ok((address, 8, *b"XSDT"));
        }
    }
    Ok((word(pointer, 16).into(), 4, *b"RSDT"))
}

/// The whole of the table of this name.
fn table<'a>(
    address: u64,
    name: [u8; 4],
    memory: &mut dyn FnMut(u64, usize) -> Option<&'a [u8]>,
) -> Result<&'a [u8], MadtError> {
    let header = memory(address, HEADER_BYTES).ok_or(MadtError::Damaged)?;
    let bytes = word(header, 4) as usize;
    if !header.starts_with(&name) || !(HEADER_BYTES..=MAX_BYTES).contains(&bytes) {
        return Err(MadtError::Damaged);
    }
    memory(address, bytes).filter(|table| adds_up(table)).ok_or(MadtError::Damaged)
}

/// Goes over the entries of a MADT.
fn cpus(table: &[u8], cpu: &mut dyn FnMut(u32)) -> Result<(), MadtError> {
    let mut rest = table.get(ENTRIES_AT..).ok_or(MadtError::Entry)?;
    while let [kind, bytes, ..] = *rest {
        if bytes < 2 {
            return Err(MadtError::Entry);
        }
        let (entry, behind) = rest.split_at_checked(bytes.into()).ok_or(MadtError::Entry)?;
        rest = behind;
        let (id, flags) = match (kind, entry.len()) {
            // Processor local APIC: processor, identifier, flags. 255 is no CPU's.
            (0, 8..) if entry[3] != 0xff => (entry[3].into(), word(entry, 4)),
            // Processor local x2APIC: two reserved bytes, identifier, flags, processor.
            (9, 16..) => (word(entry, 4), word(entry, 8)),
            (0, ..8) | (9, ..16) => return Err(MadtError::Entry),
            _ => continue,
        };
        if flags & ENABLED != 0 {
            cpu(id);
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(MadtError::Entry) }
}

/// The 32 bits at an offset, which the caller has checked.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// All bytes of a table add up to 0.
fn adds_up(table: &[u8]) -> bool {
    table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

#[cfg(test)]
mod tests;
