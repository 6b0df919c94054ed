//! x86_64 machines: 16550 UART, local APIC, clock calibration, isa-debug-exit.

#![no_std]
