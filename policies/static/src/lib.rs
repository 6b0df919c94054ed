//! The stack policy of Linux today: every stack is fully populated for as long as its thread lives.

#![no_std]
