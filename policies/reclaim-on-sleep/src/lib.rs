//! Brian Gerst's stack policy: what lies below the saved stack pointer of a sleeping thread is reclaimed.

#![no_std]
