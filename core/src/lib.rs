//! Ebbtide's core: scheduler, threads, stack slots, the per-CPU stack cache, memory, sync, and the contracts.

#![no_std]
