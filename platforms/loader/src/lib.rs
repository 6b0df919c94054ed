//! Turns a Hermit image into one file that `qemu -kernel` boots, through hermit-entry.

#![no_std]
