//! The compile errors that an app's author meets. The cases lie in `tests/ui`; nothing is here.
//!
//! Each case includes one module of the crate `ebbtide` by its path, for that crate itself is built for bare metal
//! only. After a message has changed, `TRYBUILD=overwrite cargo test -p ebbtide-compile-fail` writes the new texts;
//! read them before you commit them.
