use proptest::prelude::*;

use super::*;

/// Where the tables lie.
const ROOT: u64 = 0x0f_5a00;
const BASE: u64 = 0x0ffe_0000;

/// A root pointer and tables, as the firmware leaves them.
struct Tables {
    root: Vec<u8>,
    rest: Vec<u8>,
}

impl Tables {
    fn read(&self) -> Result<Vec<u32>, MadtError> {
        let mut found = Vec::new();
        read(ROOT, &mut |address, bytes| self.memory(address, bytes), &mut |id| found.push(id)).map(|()| found)
    }

    /// So many bytes at a physical address.
    fn memory(&self, address: u64, bytes: usize) -> Option<&[u8]> {
        let (from, start) = if address >= BASE { (&self.rest, BASE) } else { (&self.root, ROOT) };
        from.get(usize::try_from(address.checked_sub(start)?).ok()?..)?.get(..bytes)
    }
}

/// Makes the bytes from `start` on add up, by the one at `at`.
fn sum_up(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
}

fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(body);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(name);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    sum_up(&mut bytes, 9);
    bytes
}

fn local_apic(id: u8, flags: u8) -> Vec<u8> {
    vec![0, 8, 0, id, flags, 0, 0, 0]
}

fn local_x2apic(id: u32, flags: u8) -> Vec<u8> {
    let mut entry = vec![9, 16, 0, 0];
    entry.extend_from_slice(&id.to_le_bytes());
    entry.extend_from_slice(&[flags, 0, 0, 0, 0, 0, 0, 0]);
    entry
}

/// Tables with a MADT of these entries behind another table.
fn tables(extended: bool, entries: &[Vec<u8>]) -> Tables {
    let other = table(b"FACP", &[1, 2, 3]);
    let madt = table(b"APIC", &[vec![0; 8], entries.concat()].concat());
    let (name, entry_bytes) = if extended { (b"XSDT", 8) } else { (b"RSDT", 4) };
    let main_bytes = (HEADER_BYTES + 2 * entry_bytes) as u64;
    let addresses = [BASE + main_bytes, BASE + main_bytes + other.len() as u64];
    let main = table(name, &addresses.map(|address| address.to_le_bytes()[..entry_bytes].to_vec()).concat());

    let mut root = b"RSD PTR \0BOCHS \0".to_vec();
    root.extend_from_slice(&(if extended { 0 } else { BASE as u32 }).to_le_bytes());
    sum_up(&mut root, 8);
    if extended {
        root[15] = 2;
        sum_up(&mut root, 8);
        root.extend_from_slice(&36_u32.to_le_bytes());
        root.extend_from_slice(&BASE.to_le_bytes());
        root.extend_from_slice(&[0; 4]);
        sum_up(&mut root, 32);
    }
    Tables { root, rest: [main, other, madt].concat() }
}

#[test]
fn names_the_cpus_that_can_be_used() {
    let entries = [
        local_apic(0, 1),
        vec![1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        local_apic(3, 1),
        local_apic(4, 0),
        local_apic(5, 2),
        local_apic(0xff, 1),
        local_x2apic(0x1_0000, 1),
        local_x2apic(7, 0),
    ];
    for extended in [false, true] {
        assert_eq!(tables(extended, &entries).read(), Ok(vec![0, 3, 0x1_0000]), "{extended}");
    }
    assert_eq!(tables(false, &[]).read(), Ok(vec![]));
}

/// The CPUs of a table with these entries on a machine that boots on the CPU with this identifier: number by number, how many there
/// are, and the warning.
fn cpus(boot: u32, entries: &[Vec<u8>]) -> (Vec<u32>, usize, Option<String>) {
    let tables = tables(true, entries);
    let cpus = Cpus::read(boot, ROOT, &mut |address, bytes| tables.memory(address, bytes)).unwrap();
    (cpus.ids().to_vec(), cpus.count(), cpus.warning().map(|warning| warning.to_string()))
}

#[test]
fn the_cpu_that_boots_is_the_first_wherever_the_table_names_it() {
    let entries = [local_apic(4, 1), local_apic(2, 1), local_apic(0, 1)];
    assert_eq!(cpus(2, &entries), (vec![2, 4, 0], 3, None));
    assert_eq!(cpus(7, &[]), (vec![7], 1, None));
}

#[test]
fn a_cpu_that_is_named_again_has_one_number_and_a_warning() {
    let warning = |count, first| {
        let name_it = format!("the ACPI tables name a CPU twice, first APIC identifier {first}");
        Some(format!("{name_it}: such entries are left out ({count})"))
    };
    let both = [local_apic(0, 1), local_apic(3, 1), local_x2apic(3, 1), local_x2apic(0, 1), local_apic(4, 1)];
    assert_eq!(cpus(0, &both), (vec![0, 3, 4], 3, warning(2, 3)));
    // The one that boots, which is known without the table.
    assert_eq!(cpus(3, &[local_apic(3, 1), local_apic(3, 1)]), (vec![3], 1, warning(1, 3)));
    // One that cannot be used is none.
    assert_eq!(cpus(0, &[local_apic(0, 1), local_apic(1, 0), local_apic(1, 1)]), (vec![0, 1], 2, None));
}

#[test]
fn more_cpus_than_can_be_numbered_are_counted() {
    let entries: Vec<_> = (0..20).map(|id| local_apic(id, 1)).collect();
    assert_eq!(cpus(0, &entries), ((0..16).collect(), 20, None));
}

#[test]
fn entries_that_do_not_fit_are_refused() {
    for entry in
        [vec![0, 0], vec![0, 1], vec![0, 9, 0, 0, 1, 0, 0, 0], vec![0, 4, 0, 0], vec![9, 8, 0, 0, 0, 0, 0, 0], vec![1]]
    {
        assert_eq!(tables(false, &[entry.clone()]).read(), Err(MadtError::Entry), "{entry:?}");
    }
}

#[test]
fn a_missing_table_is_no_table() {
    let mut without = tables(false, &[local_apic(0, 1)]);
    let at = without.rest.windows(4).position(|name| name == b"APIC").unwrap();
    without.rest[at] = b'B';
    assert_eq!(without.read(), Err(MadtError::Missing));
    let nothing = Tables { root: vec![], rest: vec![] };
    assert_eq!(nothing.read(), Err(MadtError::Root));
}

#[test]
fn a_table_without_room_for_its_header_is_damaged() {
    for bytes in [0_u32, 35, 65_537, u32::MAX] {
        let mut short = tables(false, &[local_apic(0, 1)]);
        short.rest[4..8].copy_from_slice(&bytes.to_le_bytes());
        assert_eq!(short.read(), Err(MadtError::Damaged), "{bytes}");
    }
}

proptest! {
    /// One wrong byte in what is read makes a wrong sum, and nothing panics.
    #[test]
    fn a_wrong_byte_is_found(extended: bool, place in 0_usize..1000, change in 1_u8..) {
        let whole = tables(extended, &[local_apic(0, 1), local_x2apic(1, 1)]);
        let mut damaged = tables(extended, &[local_apic(0, 1), local_x2apic(1, 1)]);
        let other = whole.rest.windows(4).position(|name| name == b"FACP").unwrap();
        let madt = whole.rest.windows(4).position(|name| name == b"APIC").unwrap();
        let place = place % (whole.root.len() + whole.rest.len());
        match place.checked_sub(whole.root.len()) {
            None => damaged.root[place] ^= change,
            Some(place) => damaged.rest[place] ^= change,
        }
        let read = damaged.read();
        if place.checked_sub(whole.root.len()).is_some_and(|place| (other..madt).contains(&place)) {
            // Another table's, of which the name alone is looked at.
            prop_assert!(read == whole.read() || read == Err(MadtError::Damaged));
        } else {
            prop_assert!(read.is_err(), "{:?}", read);
        }
    }

    /// Whatever stands there, nothing panics.
    #[test]
    fn entries_of_any_bytes(entries in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = tables(false, &[entries]).read();
    }
}
