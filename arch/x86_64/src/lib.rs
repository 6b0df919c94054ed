//! Ebbtide on x86_64: page mapping, the switch, traps, per-CPU base, CPU control.

#![no_std]
