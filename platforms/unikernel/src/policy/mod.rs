//! The stack policy that a cargo feature selects. A new policy adds its feature, one line here, one in `choice`.

mod choice;

#[cfg(feature = "reclaim-on-sleep")]
pub use ebbtide_policy_reclaim_on_sleep::ReclaimOnSleep as Policy;
#[cfg(all(feature = "static", not(feature = "reclaim-on-sleep")))]
pub use ebbtide_policy_static::Static as Policy;
