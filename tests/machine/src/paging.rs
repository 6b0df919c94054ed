//! Paging: entries, barriers, and invalidation on one CPU or on all.
#![expect(unsafe_code, reason = "the contract of paging is unsafe")]

use std::sync::atomic::Ordering;

use ebbtide_core::arch::{Access, Paging, StackEntry, TableEntry};
use ebbtide_core::{PhysAddr, System, VirtAddr, shootdown};

use crate::baton::step;
use crate::entry;
use crate::machine::current;
use crate::system::Simulated;
use crate::tamper::Wrong;

// SAFETY: the machine's walker decodes with the same functions.
unsafe impl<const BITS: u32> Paging for Simulated<BITS> {
    const GENERATION_BITS: u32 = {
        assert!(BITS <= entry::MAX_GENERATION_BITS, "an entry has no room for such generations");
        BITS
    };

    const ACCESSED: u64 = entry::ACCESSED;

    fn encode_table(table: PhysAddr) -> u64 {
        step();
        entry::encode_table(table)
    }

    fn encode_leaf(frame: PhysAddr, access: Access, _: u32) -> u64 {
        entry::encode_leaf(frame, access)
    }

    fn decode(word: u64, level: u32) -> TableEntry {
        entry::decode(word, level)
    }

    fn encode_stack(what: StackEntry) -> u64 {
        step();
        let word = entry::encode_stack(what);
        match (current().wrong, what) {
            (Wrong::LeavesBitsToTheWalker, StackEntry::Present { .. }) => word & !(entry::ACCESSED | entry::DIRTY),
            _ => word,
        }
    }

    fn decode_stack(word: u64) -> StackEntry {
        step();
        entry::decode_stack(word)
    }

    fn publish() {
        // Before other CPUs go on: what they find was done here.
        current().observe_all();
        step();
        if current().wrong != Wrong::PublishesNothing {
            current().published();
        }
    }

    fn invalidate_local(page: VirtAddr) {
        step();
        current().invalidate(current().cpu().number, page.as_u64());
    }

    fn invalidate_all_local() {
        step();
        current().invalidate_all(current().cpu().number);
    }

    fn invalidate_everywhere<S: System>(pages: impl Iterator<Item = VirtAddr>) {
        step();
        let machine = current();
        let cpu = machine.cpu();
        if machine.habits.interrupts_for_shootdowns && machine.wrong == Wrong::Nothing {
            return shootdown::invalidate_everywhere::<S>(pages);
        }
        for page in pages {
            machine.require(cpu.interrupts.get(), || "a broadcast with interrupts off".into());
            let keeps_the_cpu = cpu.per_cpu.head.preempt_count.load(Ordering::Relaxed) > 0;
            machine.require(keeps_the_cpu, || "a broadcast by a thread that may be moved meanwhile".into());
            let first = machine.dice.pick(machine.cpus.len());
            for other in 0..machine.cpus.len() {
                let number = (first + other) % machine.cpus.len();
                step();
                if machine.wrong.invalidates(number, cpu.number) {
                    machine.invalidate(number, page.as_u64());
                }
            }
        }
    }

    unsafe fn activate(root: PhysAddr) {
        current().require(root == current().kernel.root(), || "a CPU loaded other tables than the kernel's".into());
    }
}
