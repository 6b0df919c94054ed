//! The stack policy that a cargo feature selects. A new policy adds its feature, one line here, one in `choice`.

mod choice;

#[cfg(feature = "grow-on-entry")]
pub use ebbtide_policy_grow_on_entry::GrowOnEntry as Policy;
#[cfg(all(feature = "reclaim-on-sleep", not(feature = "grow-on-entry")))]
pub use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep as Policy;
#[cfg(all(feature = "static", not(any(feature = "grow-on-entry", feature = "reclaim-on-sleep"))))]
pub use ebbtide_policy_static::Static as Policy;
