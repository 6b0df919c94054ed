//! Memory: the address space's layout, frames, page tables, the heap.

pub mod admission;
pub mod frames;
pub mod heap;
pub mod layout;
pub mod space;
pub mod table;
pub(crate) mod unmap;
pub mod window;

pub use frames::{FrameAllocator, FrameCounts};
pub use space::{Segment, map_device};
