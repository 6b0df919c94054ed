//! Paging: entries of stacks, and invalidation, CPU by CPU.
#![expect(unsafe_code, reason = "the contract of paging is unsafe")]

use ebbtide_core::arch::{Access, Paging, StackEntry, TableEntry};
use ebbtide_core::{PhysAddr, StackPolicy, System, VirtAddr, shootdown};
use ebbtide_machine::entry;

use crate::contract::Model;
use crate::plan::Reach;
use crate::world::{current, step, wait_for};

// SAFETY: the model's walkers decode with the same functions.
unsafe impl<const GENERATION_BITS: u32, P: StackPolicy> Paging for Model<GENERATION_BITS, P> {
    const GENERATION_BITS: u32 = GENERATION_BITS;

    const ACCESSED: u64 = entry::ACCESSED;

    fn encode_table(table: PhysAddr) -> u64 {
        entry::encode_table(table)
    }

    fn encode_leaf(frame: PhysAddr, access: Access, _: u32) -> u64 {
        entry::encode_leaf(frame, access)
    }

    fn decode(word: u64, level: u32) -> TableEntry {
        entry::decode(word, level)
    }

    /// What is encoded is written next.
    fn encode_stack(what: StackEntry) -> u64 {
        step_at_page(match what {
            StackEntry::Empty => "empties a page",
            StackEntry::Present { .. } => "makes a page present",
            StackEntry::Resting { .. } => "lets a page rest",
        });
        entry::encode_stack(what)
    }

    /// What is decoded was read just before.
    fn decode_stack(word: u64) -> StackEntry {
        let what = entry::decode_stack(word);
        step_at_page(match what {
            StackEntry::Empty => "has read that a page is empty",
            StackEntry::Present { .. } => "has read that a page is present",
            StackEntry::Resting { .. } => "has read that a page rests",
        });
        what
    }

    fn publish() {}

    fn invalidate_local(page: VirtAddr) {
        // Where it is asked to: who asks is on its way to ask.
        if current().interrupts_for_shootdowns && !current().cpu().interrupts.get() {
            step("invalidates a page");
        }
        current().invalidate(current().running.get(), page);
    }

    fn invalidate_all_local() {
        current().invalidate_all(current().running.get());
    }

    /// The shootdown: whoever has joined when it begins is asked, one CPU after the other, and waited for. A CPU answers when
    /// it has interrupts on.
    fn invalidate_everywhere<S: System>(pages: impl Iterator<Item = VirtAddr>) {
        if current().interrupts_for_shootdowns {
            return shootdown::invalidate_everywhere::<S>(pages);
        }
        let here = current().running.get();
        let mut asked = None;
        for page in pages {
            let mask = *asked.get_or_insert_with(|| {
                step("asks who has joined");
                current().joined()
            });
            for cpu in 0..current().books.cpus.len() {
                let reached = match current().reach {
                    Reach::Everywhere => mask & 1 << cpu != 0,
                    Reach::Here => cpu == here,
                };
                if reached {
                    wait_for(cpu);
                    current().invalidate(cpu, page);
                }
            }
        }
    }

    unsafe fn activate(_: PhysAddr) {}
}

/// A point at a page's entry.
fn step_at_page(what: &'static str) {
    if !current().between_cpus {
        step(what);
    }
}
