//! The image of the tests that every stack policy runs, which are those of `ebbtide-suite-tests`.
//!
//! They are a package of their own for the sake of the optimizer's time, see the profile in the workspace's manifest. This one is
//! optimised as any app, and with it the whole of the image once more, when it is linked.

#![no_std]
#![no_main]

ebbtide::main!(ebbtide_suite_tests::run);
