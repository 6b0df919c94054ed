//! Kernel stacks: slots, pages that are populated, resting or empty, the stack cache, and the policies' contract.

mod accessed;
mod cache;
pub(crate) mod emergency;
mod ensure;
mod entries;
pub(crate) mod growth;
mod outside;
mod page;
mod policy;
mod range;
mod reserve;
pub(crate) mod ring;
mod sample;
mod slot;
pub(crate) mod temporary;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use cache::CachedFrames;
pub use cache::{CacheCounters, StackCache, trim};
pub use ensure::{EnsureError, ensure, remaining};
pub(crate) use entries::{Entries, entries};
pub use outside::OutsideStack;
pub use page::{NoFrame, Stack};
pub use policy::{Growing, Incoming, Leaving, NewStack, Outgoing, StackPolicy};
pub use range::{Pages, StackError, StackRange};
pub use sample::{Sample, sample, settle};
pub use slot::{CLASSES, Guard, MAX_POLICY_STACK_BYTES, MAX_STACK_BYTES, MIN_STACK_BYTES, Note, SizeClass, Slot};
pub use temporary::{CallError, call_with};

pub(crate) use cache::{free_absent, free_resting, make_room, refill, unreserve};
pub(crate) use range::{allocate, collect, is_populated, owner, populated, recycle, release, set_owner};
pub(crate) use reserve::FaultReserve;
