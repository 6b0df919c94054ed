//! The hermit-entry boot protocol: version note, _start, boot information.

#![no_std]
