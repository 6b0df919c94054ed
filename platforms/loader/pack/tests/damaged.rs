//! Thousands of damaged images: the check never panics, and what it accepts hermit-entry loads without a panic.

mod support;

use std::cell::Cell;
use std::mem::MaybeUninit;

use ebbtide_loader::check::check;
use ebbtide_pack::strip::strip;
use hermit_entry::elf::KernelObject;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use support::{Aligned, good_file, machine};

const IMAGES: u32 = 10_000;

/// Larger images are checked, but not loaded: it would take the tests too long.
const LOADED_BYTES: u64 = 64 << 20;

/// What happens to an image on its way.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Zero(Index, Index),
    /// A word of 1, 2, 4 or 8 bytes becomes something that a field of a header may trip over.
    Word(Index, usize, u64),
    /// A part is put somewhere else.
    Move(Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let value = prop_oneof![
        0..70_u64,
        any::<u64>(),
        any::<u16>().prop_map(u64::from),
        prop::sample::select(vec![1 << 20, 1 << 31, 1 << 32, 1 << 47, 1 << 48, 1 << 63, u64::MAX, u64::MAX - 7]),
        prop::sample::select(vec![4, 5, 6, 7, 9, 11, 23, 35, 36, 0x6fff_fff9, 0x6fff_fffa, 0x5a00]),
    ];
    // Most fields that matter lie in front: the headers, the notes, the relocations.
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => any::<(Index, Index)>().prop_map(|(start, end)| Damage::Zero(start, end)),
        6 => (any::<Index>(), 0..4_usize, value).prop_map(|(at, size, value)| Damage::Word(at, 1 << size, value)),
        1 => any::<(Index, Index, Index)>().prop_map(|(from, to, length)| Damage::Move(from, to, length)),
    ]
}

fn apply(file: &mut Vec<u8>, damage: &Damage) {
    let length = file.len();
    if length < 16 {
        return;
    }
    match damage {
        Damage::Flip(at, bits) => file[at.index(length)] ^= bits,
        Damage::Cut(at) => file.truncate(at.index(length)),
        Damage::Zero(start, end) => {
            let start = start.index(length);
            let end = start + end.index(length - start);
            file[start..end].fill(0);
        }
        Damage::Word(at, size, value) => {
            let at = at.index(length / size) * size;
            file[at..at + size].copy_from_slice(&value.to_le_bytes()[..*size]);
        }
        Damage::Move(from, to, bytes) => {
            let bytes = bytes.index(length / 2);
            let from = from.index(length - bytes);
            file.copy_within(from..from + bytes, to.index(length - bytes));
        }
    }
}

/// Does what a loader does with an image that was accepted.
fn load(image: &[u8], fixed_start: Option<u64>, memory_bytes: u64) {
    let kernel = KernelObject::parse(image).expect("an accepted image is parsed");
    assert_eq!(kernel.mem_size() as u64, memory_bytes);
    assert_eq!(kernel.start_addr(), fixed_start);
    let start = fixed_start.unwrap_or(0x20_0000);
    let mut memory = vec![MaybeUninit::uninit(); memory_bytes as usize];
    let loaded = kernel.load_kernel(&mut memory, start);
    assert!((start..start + memory_bytes).contains(&loaded.entry_point));
}

#[test]
fn an_image_in_order_is_accepted_and_loaded() {
    let image = Aligned::new(&good_file());
    let checked = check(image.bytes(), machine()).unwrap();
    load(image.bytes(), checked.fixed_start, checked.memory_bytes);
}

#[test]
fn ten_thousand_damaged_images_end_in_a_result() {
    let good = good_file();
    let (accepted, loaded) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: IMAGES, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRunner::deterministic().new_rng();
    let mut runner = TestRunner::new_with_rng(config, rng);
    let damages = prop::collection::vec(damage(), 1..4);
    let result = runner.run(&damages, |damages| {
        let mut file = good.clone();
        damages.iter().for_each(|damage| apply(&mut file, damage));
        let image = Aligned::new(&file);
        match check(image.bytes(), machine()) {
            Ok(checked) => {
                accepted.set(accepted.get() + 1);
                if checked.memory_bytes <= LOADED_BYTES {
                    load(image.bytes(), checked.fixed_start, checked.memory_bytes);
                    loaded.set(loaded.get() + 1);
                }
            }
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
        Ok(())
    });
    result.unwrap();
    // Damage may hit what nobody reads; but if nearly nothing (or nearly everything) passed, this test would be idle.
    let (accepted, loaded) = (accepted.get(), loaded.get());
    println!("{IMAGES} images: {accepted} accepted, {loaded} of them loaded");
    assert!((IMAGES / 50..IMAGES / 2).contains(&accepted) && loaded > accepted / 2);
}

#[test]
fn ten_thousand_damaged_images_are_refused() {
    let good = strip(&good_file(), machine()).unwrap();
    let refused = Cell::new(0);
    // Some damages change nothing, so a few more are made.
    let config = ProptestConfig { cases: IMAGES + IMAGES / 5, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRunner::deterministic().new_rng();
    let result = TestRunner::new_with_rng(config, rng).run(&prop::collection::vec(damage(), 1..4), |damages| {
        let mut file = good.clone();
        damages.iter().for_each(|damage| apply(&mut file, damage));
        if file != good {
            let error = strip(Aligned::new(&file).bytes(), machine()).expect_err("a damaged image is refused");
            assert!(!error.to_string().contains('\n'));
            refused.set(refused.get() + 1);
        }
        Ok(())
    });
    result.unwrap();
    println!("{} damaged images, all refused", refused.get());
    assert!(refused.get() >= IMAGES);
}

#[test]
fn every_byte_is_sealed() {
    let good = strip(&good_file(), machine()).unwrap();
    assert_eq!(strip(Aligned::new(&good).bytes(), machine()).unwrap(), good, "a sealed image can be packed again");
    for at in 0..good.len() {
        let mut file = good.clone();
        file[at] ^= 0x40;
        assert!(strip(Aligned::new(&file).bytes(), machine()).is_err(), "byte {at}");
    }
}

#[test]
fn every_single_cut_ends_in_a_result() {
    let good = good_file();
    for length in 0..good.len() {
        let image = Aligned::new(&good[..length]);
        assert!(check(image.bytes(), machine()).is_err(), "cut to {length} bytes");
    }
}
