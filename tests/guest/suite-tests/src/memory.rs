//! The heap.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;

use ebbtide::stack::Frames;
use ebbtide::thread::{self, Builder, JoinHandle, StackError};
use ebbtide::{provoke, stack, time};

use crate::harness::{Outcome, conserved, failed};

tests![
    the_heap_grows_and_is_used_again,
    large_allocations,
    allocations_are_aligned,
    allocations_do_not_overlap,
    threads_share_the_heap,
    an_allocation_that_cannot_be_is_an_error,
    a_spawn_without_memory_is_an_error,
    an_access_is_noted_in_the_page_table,
];

/// Bytes that a test may use: a part of what is free, so that it runs in small machines too.
fn part_of_free_memory(divisor: usize) -> usize {
    (stack::frames().counts.free << 12) / divisor
}

fn the_heap_grows_and_is_used_again() -> Outcome {
    let bytes = part_of_free_memory(4).min(16 << 20);
    let fill = || -> Vec<Box<[u64; 64]>> { (0..bytes / 512).map(|n| Box::new([n as u64; 64])).collect() };
    let before = stack::frames();
    let boxes = fill();
    let grown = stack::frames();
    check!(
        grown.heap - before.heap >= (bytes / 2) >> 12,
        "the heap grew from {} to {} frames",
        before.heap,
        grown.heap
    );
    let wrong = boxes.iter().enumerate().find(|(n, words)| words.iter().any(|word| *word != *n as u64));
    check_eq!(wrong.map(|(n, _)| n), None, "a box with a wrong content");
    drop(boxes);
    drop(fill());
    check_eq!(stack::frames().heap, grown.heap, "frames of the heap when the same is allocated again");
    Ok(())
}

fn large_allocations() -> Outcome {
    for divisor in [8, 4, 2] {
        let bytes = part_of_free_memory(divisor);
        let mut large = Vec::new();
        large.try_reserve_exact(bytes).map_err(|error| format!("{bytes} bytes: {error}"))?;
        large.resize(bytes, 0x11_u8);
        for page in large.chunks_mut(4096) {
            page[0] = 0x22;
        }
        let sum = large.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        check_eq!(sum, 0x11 * (bytes + bytes.div_ceil(4096)) as u64, "sum of {bytes} bytes");
        conserved()?;
    }
    Ok(())
}

fn allocations_are_aligned() -> Outcome {
    macro_rules! aligned {
        ($($align:literal),+) => {$({
            #[repr(align($align))]
            struct Aligned([u8; $align]);
            let all: Vec<Vec<Aligned>> = (0..4).map(|n| Vec::with_capacity(n + 1)).collect();
            for one in &all {
                let address = one.as_ptr().addr();
                check!(address.is_multiple_of($align), "{address:#x} for an alignment of {}", $align);
            }
            let _ = |aligned: Aligned| aligned.0;
        })+};
    }
    aligned!(1, 2, 8, 16, 64, 512, 4096, 65536);
    Ok(())
}

/// A linear congruential generator: the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

/// Allocates, resizes and frees pieces of many sizes; returns whether each kept its content.
fn stir(seed: u64, rounds: usize) -> bool {
    let mut numbers = Numbers(seed);
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for round in 0..rounds {
        match numbers.below(3) {
            0 | 1 if pieces.len() < 40 => {
                let size = 1 << numbers.below(12);
                pieces.push(alloc::vec![(seed as u8) ^ (round as u8); size + numbers.below(size)]);
            }
            2 if !pieces.is_empty() => {
                let at = numbers.below(pieces.len());
                let (piece, more) = (&mut pieces[at], numbers.below(2_000));
                piece.resize(piece.len() + more, piece[0]);
            }
            _ if !pieces.is_empty() => {
                let at = numbers.below(pieces.len());
                let piece = pieces.swap_remove(at);
                if piece.iter().any(|byte| *byte != piece[0]) {
                    return false;
                }
            }
            _ => {}
        }
    }
    pieces.iter().all(|piece| piece.iter().all(|byte| *byte == piece[0]))
}

fn allocations_do_not_overlap() -> Outcome {
    check!(stir(7, 5_000), "a piece was changed");
    Ok(())
}

fn threads_share_the_heap() -> Outcome {
    let threads: Vec<_> = (1..=6)
        .map(|seed| {
            thread::spawn(move || {
                let start = time::Instant::now();
                let mut whole = true;
                while whole && start.elapsed() < time::Duration::from_millis(100) {
                    whole &= stir(seed, 200);
                }
                whole
            })
        })
        .collect();
    for thread in threads {
        check!(thread.join().unwrap(), "a piece was changed");
    }
    Ok(())
}

fn an_allocation_that_cannot_be_is_an_error() -> Outcome {
    let total = stack::frames().counts.total << 12;
    for bytes in [total, 2 * total, 1 << 40, isize::MAX as usize] {
        let mut much = Vec::<u8>::new();
        check!(much.try_reserve_exact(black_box(bytes)).is_err(), "{bytes} bytes of {total} were given");
        // The system goes on.
        check_eq!(Box::new(black_box(bytes)).wrapping_sub(bytes), 0, "a small allocation after that");
        let thread = Builder::new().spawn(|| 1).map_err(failed("spawn"))?;
        check_eq!(thread.join().unwrap(), 1, "a thread after that");
    }
    Ok(())
}

/// Stacks of 1 MiB, always populated, until there is no memory for another one.
fn a_spawn_without_memory_is_an_error() -> Outcome {
    let mut threads = Vec::new();
    let (before, error) = loop {
        stack::settle();
        let before = stack::frames();
        match Builder::new().stack_size(1 << 20).spawn(thread::park) {
            Ok(thread) => threads.push(thread),
            Err(error) => break (before, error),
        }
    };
    let result = goes_on_without_memory(&before, &error, threads.pop());
    for thread in threads {
        thread.thread().unpark();
        thread.join().unwrap();
    }
    result
}

/// What was free `before` the spawn that failed is free again, but for a page table, and once `one` thread has ended, others still
/// come and go: until then there may be just the frames that no spawn gets.
fn goes_on_without_memory(before: &Frames, error: &StackError, one: Option<JoinHandle<()>>) -> Outcome {
    check!(matches!(error, StackError::NoFrame { .. }), "another error: {error}");
    let text = format!("{error}");
    check!(text.contains("memory"), "the text says nothing of memory: {text}");
    let (frames, _) = conserved()?;
    let free_or_tables = |frames: &Frames| frames.counts.free + frames.tables;
    check!(free_or_tables(&frames) >= free_or_tables(before), "it kept frames: {before:?}, then {frames:?}");
    let one = one.ok_or("no thread had memory")?;
    one.thread().unpark();
    one.join().unwrap();
    stack::settle();
    for n in 0..50 {
        let small = Builder::new().spawn(move || n).map_err(failed("spawn of a small stack after that"))?;
        check_eq!(small.join().unwrap(), n, "a small thread after that");
    }
    Ok(())
}

/// By the CPU itself, or by a fault whose handler does it.
fn an_access_is_noted_in_the_page_table() -> Outcome {
    #[repr(align(4096))]
    struct Page([u8; 4096]);

    let mut page = Box::new(Page([1; 4096]));
    let here = page.0.as_ptr().addr();
    for value in 2..5 {
        provoke::forget_access(here);
        check!(!provoke::is_accessed(here), "accessed before anybody did");
        check_eq!(black_box(&page.0)[17], value - 1, "what is read");
        check!(provoke::is_accessed(here), "the read was not noted");
        provoke::forget_access(here);
        black_box(&mut page.0)[17] = value;
        check!(provoke::is_accessed(here), "the write was not noted");
    }
    Ok(())
}
