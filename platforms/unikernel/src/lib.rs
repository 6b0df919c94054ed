//! A unikernel crate whose kernel stacks ebb when their threads do not need them.

#![no_std]
